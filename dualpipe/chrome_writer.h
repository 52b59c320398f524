// Chrome trace JSON, event by event: what the predicted and the measured trace share. Internal to
// the room.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace weft::dualpipe {

/// An argument of an event, as the viewer shows it.
struct Argument {
  std::string_view key;
  std::variant<std::int64_t, double, std::string_view> value;
};
using Arguments = std::vector<Argument>;

/// A piece of a track, in nanoseconds.
struct Slice {
  int process = 0;
  int track = 0;
  std::string_view name;
  std::string_view category;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

/// Collects the JSON text. Threads: one.
class ChromeWriter {
 public:
  ChromeWriter();

  void process(int process, std::string_view name);
  void track(int process, int track, std::string_view name);
  /// Slices of a track must nest or be apart; the parent is written before its children.
  void slice(const Slice& slice, const Arguments& arguments);
  /// A moment on a track.
  void instant(const Slice& at, const Arguments& arguments);
  /// An arrow from the slice around one moment to the slice around the other.
  void arrow(int from_process, int from_track, std::int64_t from_ns, int to_process, int to_track,
             std::int64_t to_ns);

  /// The whole document; `about` is what the viewer shows of the file itself.
  std::string finish(const Arguments& about);

 private:
  void begin_event(char phase, int process, int track);
  void time(std::string_view key, std::int64_t ns);
  void arguments(const Arguments& arguments);
  void text(std::string_view text);

  std::string out_;
  std::int64_t arrows_ = 0;
};

/// Slices that overlap go to tracks side by side, in the order of their beginnings.
class SideBySide {
 public:
  /// The track of a slice, from 0; slices must come in ascending order of begin_ns.
  int place(std::int64_t begin_ns, std::int64_t end_ns);
  int tracks() const { return static_cast<int>(free_from_.size()); }

 private:
  std::vector<std::int64_t> free_from_;
};

}  // namespace weft::dualpipe
