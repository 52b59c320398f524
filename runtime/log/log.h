// A process's own log, on standard error; a worker's standard error is its log file. spdlog stays
// behind log.cpp.
#pragma once

#include <string_view>

namespace weft::runtime {

void log_info(std::string_view message);
void log_warning(std::string_view message);
void log_error(std::string_view message);

}  // namespace weft::runtime
