// What must hold between a job's fields beyond each field's own range; not for others to include.
// One file a group of fields: rules_*.cpp, and validate.cpp for the rest.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "runtime/job/job.h"
#include "runtime/job/validate.h"

namespace weft::runtime {

inline std::string number(long long value) { return std::to_string(value); }

class Rules {
 public:
  explicit Rules(const Job& job) : job_(job) {}

  std::vector<Problem> check();

 private:
  bool runs(const std::string& stage) const {
    return std::ranges::find(job_.recipe, stage) != job_.recipe.end();
  }
  void error(std::vector<std::string> fields, std::string message, std::string hint) {
    found_.push_back({Severity::Error, std::move(fields), std::move(message), std::move(hint)});
  }
  void warn(std::vector<std::string> fields, std::string message, std::string hint) {
    found_.push_back({Severity::Warning, std::move(fields), std::move(message), std::move(hint)});
  }

  void check_name();
  void check_recipe();
  void check_control();

  // rules_data.cpp
  void check_data();
  void check_tokenizer(bool files);
  void check_files(bool files);

  // rules_layout.cpp
  void check_layout();
  void check_schedule();
  void check_virtual_is_unused();
  void check_virtual();
  void check_stage_factors();

  // rules_model.cpp
  void check_model();
  void check_precision();

  // rules_training.cpp
  long long smallest_batch() const;
  void check_batch(const std::vector<std::string>& batch_fields, long long batch,
                   const std::string& shown);
  long long micro_batches_in_flight() const;
  void check_in_flight(const std::vector<std::string>& prompt_fields, long long prompts,
                       const std::string& shown);
  void check_supervised(const std::string& stage, const SupervisedJob& job);
  void check_course(const std::string& stage, const SupervisedJob& job);
  void check_target(const std::string& stage, double target, int eval_every);
  void check_cold_start();
  void check_grpo();
  void check_rewards();

  const Job& job_;
  std::vector<Problem> found_;
};

}  // namespace weft::runtime
