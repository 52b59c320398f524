// The few file operations whose durability matters, each all or nothing.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft {

/// Errors: NotFound; Io with errno's text; InvalidArgument when longer than `max_bytes`.
Expected<std::string> read_file(const std::filesystem::path& path,
                                std::size_t max_bytes = std::size_t{1} << 30);

/// Replaces `path` by `content`: temporary file beside it, fsync, rename, fsync of the directory.
/// After a crash either the old content or the new is there, whole. Errors: Io.
Expected<void> write_file_atomically(const std::filesystem::path& path, std::string_view content,
                                     unsigned mode = 0644);

/// The same without waiting for the disk: readers see the old content or the new, whole; after a
/// crash of the machine either, or neither. For what is written anew within seconds. Processes that
/// do so at the same time do not disturb each other. Errors: Io.
Expected<void> replace_file(const std::filesystem::path& path, std::string_view content,
                            unsigned mode = 0644);

/// fsync of a directory, so that a rename inside it survives a crash. Errors: Io.
Expected<void> sync_directory(const std::filesystem::path& directory);

/// An Io error (NotFound for ENOENT) that names the action, the path and errno's reason, and for a
/// full or read-only disk what to do.
[[nodiscard]] tl::unexpected<Error> io_error(std::string_view action,
                                             const std::filesystem::path& path, int error_number);

}  // namespace weft
