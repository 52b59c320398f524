// The transport mpi where MPI is missing, not asked, or sends nonsense. What it promises over a
// real MPI is in conformance_test and faults_test.
#include "comm/mpi/mpi_transport.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <fstream>
#include <string>

#include "comm/mpi/mpi_group.h"
#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

Error error_with_plugin(const std::string& plugin) {
  MpiOptions options;
  options.plugin = plugin;
  const auto result = open_mpi_transport(options);
  EXPECT_FALSE(result);
  return result ? Error{} : result.error();
}

void expect_says(const Error& error, std::initializer_list<const char*> parts) {
  EXPECT_EQ(error.code, Code::Unsupported);
  for (const char* part : parts)
    EXPECT_NE(error.message.find(part), std::string::npos) << error.message;
}

TEST(MpiTransport, AMissingPluginSaysWhatToInstall) {
  expect_says(error_with_plugin("/nowhere/libweft_comm_mpi.so"),
              {"/nowhere/libweft_comm_mpi.so", "openmpi-bin", "libopenmpi-dev"});
}

TEST(MpiTransport, APluginThatCannotBeOpenedSaysWhyAndWhatToInstall) {
  const std::string path = testing::TempDir() + "weft_no_library.so";
  std::ofstream(path) << "no library";
  expect_says(error_with_plugin(path), {path.c_str(), "openmpi-bin"});
}

TEST(MpiTransport, ALibraryOfSomethingElseIsRefused) {
  Dl_info library{};
  ASSERT_NE(::dladdr(::dlsym(RTLD_DEFAULT, "strtoul"), &library), 0);
  expect_says(error_with_plugin(library.dli_fname), {library.dli_fname, "build again"});
}

TEST(MpiTransport, AProcessThatNobodyStartedSaysHowToStartIt) {
  const auto result = open_mpi_transport();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::Unsupported);
  if (result.error().message.find("not part of this build") != std::string::npos)
    GTEST_SKIP() << "libweft_comm_mpi.so was not built (libopenmpi-dev)";
  expect_says(result.error(), {"mpirun -n", "srun --mpi=pmix"});
}

/// MPI as a peer that sends what a test wants, on whatever tag; our own messages are taken at once.
struct FakeMpi {
  static inline std::deque<std::vector<std::byte>> incoming;
  struct Posted {
    void* into;
    std::size_t bytes_max;
  };
  static int send(const void*, std::size_t, int, int, void** request) {
    *request = nullptr;
    return 0;
  }
  static int receive(void* into, std::size_t bytes_max, int, int, void** request) {
    *request = new Posted{into, bytes_max};
    return 0;
  }
  static int test(void** request, int* done, std::size_t* bytes) {
    *done = *request == nullptr;
    if (*done != 0 || incoming.empty()) return 0;
    auto* const posted = static_cast<Posted*>(*request);
    const auto message = std::move(incoming.front());
    incoming.pop_front();
    *bytes = message.size();
    *done = 1;
    const bool fits = message.size() <= posted->bytes_max;
    if (fits && !message.empty()) std::memcpy(posted->into, message.data(), message.size());
    delete posted;
    *request = nullptr;
    return fits ? 0 : 15;
  }
  static int cancel(void** request, int* done) {
    delete static_cast<Posted*>(*request);
    *request = nullptr;
    *done = 1;
    return 0;
  }
  static void describe_error(int code, char* text, std::size_t size) {
    std::snprintf(text, size, "error %d", code);
  }
  static MpiApi api() {
    return {MpiApi::kVersion, nullptr, send,    receive, test,
            cancel,           nullptr, nullptr, nullptr, describe_error};
  }
};

struct Sent {
  MpiHeader header;
  std::size_t payload_bytes = 0;
};

constexpr std::uint64_t kMagic = 0x6970'6d74'66657725;

/// What rank 0 says to a receive of at most 16 bytes with tag 7 from rank 1, which sends
/// `messages`.
Error receive_of(const std::vector<Sent>& messages, std::size_t capacity = 16) {
  static const MpiApi api = FakeMpi::api();
  FakeMpi::incoming.clear();
  for (const Sent& sent : messages) {
    auto& bytes = FakeMpi::incoming.emplace_back(sizeof(MpiHeader) + sent.payload_bytes);
    std::memcpy(bytes.data(), &sent.header, sizeof(MpiHeader));
  }
  const auto world = std::make_shared<MpiWorld>(api, MpiOptions{});
  MpiCommunicator group(world, {"all", {0, 1}}, 0, 0);
  group.set_wait_bound(std::chrono::milliseconds(50));
  group.set_serving("B mb 1 dir 0 stage 2");
  std::vector<std::byte> into(capacity, std::byte{9});
  const auto result = receive(group, 1, 7, into);
  EXPECT_FALSE(result);
  EXPECT_EQ(into, std::vector<std::byte>(capacity, std::byte{9})) << "nothing was touched";
  if (result) return {};
  for (const char* part : {"from rank 1", "tag 0x7", "B mb 1 dir 0 stage 2"})
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  return result.error();
}

TEST(MpiTransport, NonsenseFromAPeerIsCorruptAndTouchesNothing) {
  EXPECT_EQ(receive_of({{{0, 7, 16, 0}, 16}}).code, Code::Corrupt);             // no magic
  EXPECT_EQ(receive_of({{{kMagic, 7, 16, 1}, 16}}).code, Code::Corrupt);        // out of sequence
  EXPECT_EQ(receive_of({{{kMagic, 7, 16, 0}, 15}}).code, Code::Corrupt);        // truncated
  EXPECT_EQ(receive_of({{{kMagic, 7, 15, 0}, 16}}).code, Code::Corrupt);        // too much
  EXPECT_EQ(receive_of({{{kMagic, 7, ~0ull, 0}, 0}}).code, Code::Corrupt);      // absurd length
  EXPECT_EQ(receive_of({{{kMagic, 8, 16, 0}, 16}}).code, Code::Corrupt);        // another tag
  EXPECT_EQ(receive_of({}).code, Code::DeadlineExceeded);                       // silence
  EXPECT_EQ(receive_of({{{kMagic, 7, 16, 0}, 9000}}).code, Code::Unavailable);  // MPI refuses it
}

TEST(MpiTransport, APayloadShorterThanItsHeaderSaysIsCorrupt) {
  static const MpiApi api = FakeMpi::api();
  FakeMpi::incoming.clear();
  const MpiHeader header{kMagic, 7, 5000, 0};
  auto& bytes = FakeMpi::incoming.emplace_back(sizeof header);
  std::memcpy(bytes.data(), &header, sizeof header);
  FakeMpi::incoming.emplace_back(4999);
  MpiCommunicator group(std::make_shared<MpiWorld>(api, MpiOptions{}), {"all", {0, 1}}, 0, 0);
  std::vector<std::byte> into(5000);
  const auto result = receive(group, 1, 7, into);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::Corrupt);
  EXPECT_NE(result.error().message.find("only 4999 bytes of 5000"), std::string::npos)
      << result.error().message;
}

}  // namespace
}  // namespace weft::comm
