#include "runtime/store/private_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/files.h"

namespace weft::runtime {

namespace fs = std::filesystem;

Expected<void> check_private_directory(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return io_error("look at", path, errno);
  if (status.st_uid != ::geteuid() && status.st_uid != 0)
    return fail(Code::InvalidArgument,
                path.string() + " belongs to user " + std::to_string(status.st_uid) +
                    ", who could change the run at will: run in a directory of your own");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return fail(Code::InvalidArgument,
                path.string() +
                    " can be written by others, who could change the run at will: "
                    "chmod go-w " +
                    path.string());
  return {};
}

Expected<void> make_private_directory(const fs::path& path) {
  std::error_code error;
  const bool made = fs::create_directories(path, error);
  if (error) return io_error("create", path, error.value());
  if (made)
    fs::permissions(path, fs::perms::group_write | fs::perms::others_write,
                    fs::perm_options::remove, error);
  if (error) return io_error("protect", path, error.value());
  return check_private_directory(path);
}

}  // namespace weft::runtime
