// Lists of lists of numbers out of a JSON file, without a document in between: a placement of 61
// layers is a megabyte, of which one list is wanted.
#pragma once

#include <string>
#include <vector>

#include "base/expected.h"

namespace weft::cli {

/// The list of lists under `key` of the object that the file holds; all rows equally long.
/// `whole`: only whole numbers are right. Errors: as read_file; InvalidArgument naming file, row
/// and entry of all that is wrong (the first ten, a line each), or line and column where it is no
/// JSON.
Expected<std::vector<std::vector<double>>> read_number_rows(const std::string& path,
                                                            const std::string& key, bool whole);

}  // namespace weft::cli
