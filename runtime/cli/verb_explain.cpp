#include <nlohmann/json.hpp>
#include <ostream>

#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/fields.h"
#include "runtime/job/reference.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;

std::vector<json> field_records(const std::string& path) {
  std::vector<json> out;
  for (const Field& field : fields()) {
    if (!path.empty() && field.path != path && group_of(field.path) != path) continue;
    json names = json::array();
    for (const OtherName& other : field.names)
      names.push_back({{"system", other.system}, {"name", other.name}});
    out.push_back({{"path", field.path},
                   {"type", type_text(field)},
                   {"default", default_text(field)},
                   {"unit", field.unit},
                   {"range", range_text(field)},
                   {"help", field.help},
                   {"works_with", field.interacts},
                   {"example", field.example},
                   {"may_change_on_resume", field.on_resume == OnResume::MayChange},
                   {"elsewhere", names}});
  }
  return out;
}

}  // namespace

int verb_explain(const ExplainOptions& options, Io& io) {
  if (options.markdown) {
    io.out << reference_markdown();
    return kOk;
  }
  const int width = io.out_tty ? io.width : 100;
  const auto text =
      options.recursive ? explain_recursive(options.field, width) : explain(options.field, width);
  if (!text) {
    report(text.error(), io);
    return kUsage;
  }
  if (options.format != Format::Table) {
    print_list(io, options.format, "explain", field_records(options.field), {}, "path");
    return kOk;
  }
  io.out << *text;
  if (options.field.empty() && !options.recursive)
    io.err << "More: weft explain grpo, weft explain grpo.beta, weft explain --recursive\n";
  return kOk;
}

int verb_schema(Io& io) {
  io.out << job_schema().dump(2) << "\n";
  return kOk;
}

}  // namespace weft::cli
