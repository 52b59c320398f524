#include "trainer/rl/reward.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/text.h"

namespace weft::trainer::rl {
namespace {

constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>",
                           kAnswerOpen = "<answer>", kAnswerClose = "</answer>";
constexpr std::array kTags = {kThinkOpen, kThinkClose, kAnswerOpen, kAnswerClose};

struct Tag {
  std::string_view name;
  std::size_t begin = 0;
  std::size_t end() const { return begin + name.size(); }
};

/// Every tag of the four, in order. Verifiers work on this list instead of on the text, so that
/// they cost one pass whatever the text is.
std::vector<Tag> tags_of(std::string_view text) {
  std::vector<Tag> tags;
  for (std::size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1))
    for (const std::string_view name : kTags)
      if (text.substr(at).starts_with(name)) tags.push_back({name, at});
  return tags;
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// The tags that stand after thinking.
std::span<const Tag> after_thinking(std::span<const Tag> tags) {
  const auto is_think = [](const Tag& tag) {
    return tag.name == kThinkOpen || tag.name == kThinkClose;
  };
  const auto last = std::find_if(tags.rbegin(), tags.rend(), is_think);
  if (last == tags.rend()) return tags;
  const auto after = static_cast<std::size_t>(last.base() - tags.begin());
  if (last->name == kThinkOpen) return {};  // still thinking when the completion ended
  return tags.subspan(after);
}

struct NamedReward {
  std::string name;
  double (*value)(std::string_view completion, std::string_view gold);
};

const std::vector<NamedReward>& known_rewards() {
  static const std::vector<NamedReward> known = {
      {"accuracy.answer", accuracy_answer},
      {"format.think_answer", [](std::string_view completion,
                                 std::string_view) { return format_think_answer(completion); }},
  };
  return known;
}

const NamedReward* find_reward(std::string_view name) {
  for (const NamedReward& reward : known_rewards())
    if (reward.name == name) return &reward;
  return nullptr;
}

tl::unexpected<Error> unknown_reward(const std::string& name) {
  std::string message = "unknown reward '" + name + "'; known: " + join(reward_names(), ", ");
  if (const std::string near = closest(name, reward_names()); !near.empty())
    message += " (did you mean '" + near + "'?)";
  return fail(Code::InvalidArgument, std::move(message));
}

}  // namespace

std::optional<std::string> extract_answer(std::string_view completion) {
  const std::vector<Tag> tags = tags_of(completion);
  const std::span<const Tag> rest = after_thinking(tags);
  for (std::size_t i = rest.size(); i-- > 1;) {
    const Tag &open = rest[i - 1], &close = rest[i];
    if (open.name == kAnswerOpen && close.name == kAnswerClose)
      return std::string(trim(completion.substr(open.end(), close.begin - open.end())));
  }
  return std::nullopt;
}

double accuracy_answer(std::string_view completion, std::string_view gold) {
  const std::string_view wanted = trim(gold);
  if (wanted.empty()) return 0.0;
  const std::optional<std::string> answer = extract_answer(completion);
  return answer && *answer == wanted ? 1.0 : 0.0;
}

double format_think_answer(std::string_view completion) {
  const std::string_view text = trim(completion);
  const std::vector<Tag> tags = tags_of(text);
  const bool in_order =
      std::equal(tags.begin(), tags.end(), kTags.begin(), kTags.end(),
                 [](const Tag& tag, std::string_view name) { return tag.name == name; });
  if (!in_order) return 0.0;
  const std::string_view between = text.substr(tags[1].end(), tags[2].begin - tags[1].end());
  const bool whole = tags[0].begin == 0 && tags[3].end() == text.size();
  return whole && trim(between).empty() ? 1.0 : 0.0;
}

std::span<const std::string> reward_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const NamedReward& reward : known_rewards()) all.push_back(reward.name);
    return all;
  }();
  return names;
}

Expected<Rewards> Rewards::make(std::span<const WeightedReward> rewards) {
  if (rewards.empty())
    return fail(Code::InvalidArgument, "no reward is given; known: " + join(reward_names(), ", "));
  Rewards result;
  for (const WeightedReward& reward : rewards) {
    if (find_reward(reward.name) == nullptr) return unknown_reward(reward.name);
    if (!std::isfinite(reward.weight))
      return fail(Code::InvalidArgument,
                  "the weight of reward '" + reward.name + "' must be a finite number");
    const bool twice = std::any_of(result.items_.begin(), result.items_.end(),
                                   [&](const auto& item) { return item.name == reward.name; });
    if (twice)
      return fail(Code::InvalidArgument,
                  "reward '" + reward.name + "' is given twice: add the weights up in one");
    result.items_.push_back(reward);
  }
  return result;
}

Score Rewards::score(std::string_view completion, std::string_view gold) const {
  Score score;
  for (const WeightedReward& item : items_) {
    const NamedReward* reward = find_reward(item.name);
    WEFT_CHECK(reward != nullptr, item.name);
    const double value = reward->value(completion, gold);
    score.components.emplace_back(item.name, value);
    score.total += item.weight * value;
  }
  score.extracted = extract_answer(completion).value_or("");
  return score;
}

}  // namespace weft::trainer::rl
