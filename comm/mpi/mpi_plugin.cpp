// libweft_comm_mpi.so: the table of mpi_api.h over Open MPI (any MPI-3).
#include <mpi.h>

#include <algorithm>
#include <cstring>

#include "comm/mpi/mpi_api.h"

namespace {

using weft::comm::MpiApi;

static_assert(sizeof(MPI_Request) <= sizeof(void*), "a request must fit into a pointer");

MPI_Comm world = MPI_COMM_NULL;  // ours alone: our messages meet nobody else's

MPI_Request unpack(void* packed) {
  MPI_Request request{};
  std::memcpy(&request, &packed, sizeof request);
  return request;
}

int pack(int code, MPI_Request request, void** packed) {
  *packed = nullptr;
  if (code == MPI_SUCCESS && request != MPI_REQUEST_NULL)
    std::memcpy(packed, &request, sizeof request);
  return code;
}

int init(int* rank, int* size) {
  int provided = 0;
  if (const int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided))
    return code;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (const int code = MPI_Comm_dup(MPI_COMM_WORLD, &world)) return code;
  MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
  MPI_Comm_rank(world, rank);
  MPI_Comm_size(world, size);
  return 0;
}

int send(const void* data, std::size_t bytes, int to, int tag, void** packed) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, tag, world, &request);
  return pack(code, request, packed);
}

int receive(void* into, std::size_t bytes_max, int from, int tag, void** packed) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int code =
      MPI_Irecv(into, static_cast<int>(bytes_max), MPI_BYTE, from, tag, world, &request);
  return pack(code, request, packed);
}

int test(void** packed, int* done, std::size_t* bytes) {
  *done = *packed == nullptr;
  if (*done != 0) return 0;
  MPI_Request request = unpack(*packed);
  MPI_Status status;
  const int code = MPI_Test(&request, done, &status);
  if (code != MPI_SUCCESS || *done == 0) return code;
  int count = 0;
  MPI_Get_count(&status, MPI_BYTE, &count);
  *bytes = static_cast<std::size_t>(std::max(count, 0));
  *packed = nullptr;
  return code;
}

int cancel(void** packed, int* done) {
  MPI_Request request = unpack(*packed);
  *done = 0;
  if (const int code = MPI_Cancel(&request)) return code;
  MPI_Status status;
  if (const int code = MPI_Test(&request, done, &status)) return code;
  if (*done != 0) *packed = nullptr;
  return 0;
}

int all_gather(const void* mine, void* all, std::size_t bytes_each, void** packed) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int count = static_cast<int>(bytes_each);
  const int code = MPI_Iallgather(mine, count, MPI_BYTE, all, count, MPI_BYTE, world, &request);
  return pack(code, request, packed);
}

int barrier(void** packed) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Ibarrier(world, &request);
  return pack(code, request, packed);
}

int finalize() { return MPI_Finalize(); }

void describe_error(int code, char* text, std::size_t size) {
  char message[MPI_MAX_ERROR_STRING + 1] = "";
  int length = 0;
  MPI_Error_string(code, message, &length);
  const auto kept = std::min(static_cast<std::size_t>(length), size - 1);
  std::memcpy(text, message, kept);
  text[kept] = '\0';
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const MpiApi* weft_mpi_api() {
  static const MpiApi api{MpiApi::kVersion, init,       send,    receive,  test,
                          cancel,           all_gather, barrier, finalize, describe_error};
  return &api;
}
