// A message whose bytes change on their way is Corrupt for its receiver, whatever way it takes.
#include "comm/message_check.h"

#include <gtest/gtest.h>

#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

// Through the ring, in pieces through it, and fetched by the receiver.
constexpr std::size_t kSizes[] = {1, 5000, 200 << 10, 2 << 20};

/// Rank 0 sends, rank 1 receives the second message with one byte changed.
void expect_noticed(Mode mode, bool checked, std::size_t bytes) {
  check_messages(checked);
  run_transports(mode, 2, [&](Transport& transport) {
    run_rank(transport, [&](Communicator& group) {
      std::vector<std::byte> data(bytes, std::byte{7});
      const bool sends = group.rank() == 0;
      for (const bool changed : {false, true}) {
        if (!sends && changed) change_next_message();
        const Request request =
            sends ? group.start_send(1, 3, data) : group.start_receive(0, 3, data);
        const auto ended = group.wait(request);
        if (sends) continue;
        ASSERT_EQ(ended.has_value(), !changed || !checked);
        if (ended) {
          EXPECT_EQ(data[bytes / 2] == std::byte{7}, !changed);
        } else {
          EXPECT_EQ(ended.error().code, Code::Corrupt);
          EXPECT_NE(ended.error().message.find("changed on its way"), std::string::npos)
              << ended.error().message;
        }
      }
    });
  });
}

TEST(MessageCheck, AChangedByteIsNoticedInSharedMemory) {
  for (const std::size_t bytes : kSizes) expect_noticed(Mode::threads, true, bytes);
}

TEST(MessageCheck, AChangedByteIsNoticedOverTcp) {
  for (const std::size_t bytes : kSizes) expect_noticed(Mode::tcp, true, bytes);
}

TEST(MessageCheck, WithoutChecksNobodyNotices) { expect_noticed(Mode::threads, false, 5000); }

}  // namespace
}  // namespace weft::comm
