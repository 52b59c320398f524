#include "dualpipe/chrome_writer.h"

#include <charconv>
#include <cstdlib>

namespace weft::dualpipe {
namespace {

template <class Number>
void append(std::string& out, Number number) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number).ptr;
  out.append(buffer, end);
}

}  // namespace

ChromeWriter::ChromeWriter() : out_("{\"traceEvents\":[") {}

void ChromeWriter::text(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out_ += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      (out_ += '\\') += c;
    } else if (byte < 0x20 ||
               byte >= 0x7f) {  // names are ASCII; what is not comes from a damaged file
      ((out_ += "\\u00") += kHex[byte >> 4]) += kHex[byte & 15];
    } else {
      out_ += c;
    }
  }
  out_ += '"';
}

void ChromeWriter::begin_event(char phase, int process, int track) {
  out_ += out_.back() == '[' ? "\n{\"ph\":\"" : ",\n{\"ph\":\"";
  (out_ += phase) += "\",\"pid\":";
  append(out_, process);
  out_ += ",\"tid\":";
  append(out_, track);
}

/// Microseconds, exact to the nanosecond.
void ChromeWriter::time(std::string_view key, std::int64_t ns) {
  ((out_ += ",\"") += key) += "\":";
  if (ns < 0) out_ += '-';
  append(out_, std::abs(ns / 1000));
  const int rest = static_cast<int>(std::abs(ns % 1000));
  if (rest == 0) return;
  out_ += '.';
  for (const int digit : {rest / 100, rest / 10 % 10, rest % 10})
    out_ += static_cast<char>('0' + digit);
}

void ChromeWriter::arguments(const Arguments& arguments) {
  out_ += '{';
  for (const Argument& argument : arguments) {
    if (out_.back() != '{') out_ += ',';
    text(argument.key);
    out_ += ':';
    if (const auto* words = std::get_if<std::string_view>(&argument.value)) text(*words);
    if (const auto* whole = std::get_if<std::int64_t>(&argument.value)) append(out_, *whole);
    if (const auto* real = std::get_if<double>(&argument.value)) append(out_, *real);
  }
  out_ += '}';
}

void ChromeWriter::process(int process, std::string_view name) {
  begin_event('M', process, 0);
  out_ += ",\"name\":\"process_name\",\"args\":";
  arguments({{"name", name}});
  out_ += '}';
  begin_event('M', process, 0);
  out_ += ",\"name\":\"process_sort_index\",\"args\":";
  arguments({{"sort_index", std::int64_t{process}}});
  out_ += '}';
}

void ChromeWriter::track(int process, int track, std::string_view name) {
  begin_event('M', process, track);
  out_ += ",\"name\":\"thread_name\",\"args\":";
  arguments({{"name", name}});
  out_ += '}';
  begin_event('M', process, track);
  out_ += ",\"name\":\"thread_sort_index\",\"args\":";
  arguments({{"sort_index", std::int64_t{track}}});
  out_ += '}';
}

void ChromeWriter::slice(const Slice& slice, const Arguments& with) {
  begin_event('X', slice.process, slice.track);
  time("ts", slice.begin_ns);
  time("dur", slice.end_ns - slice.begin_ns);
  out_ += ",\"name\":";
  text(slice.name);
  out_ += ",\"cat\":";
  text(slice.category);
  if (!with.empty()) {
    out_ += ",\"args\":";
    arguments(with);
  }
  out_ += '}';
}

void ChromeWriter::instant(const Slice& at, const Arguments& with) {
  begin_event('i', at.process, at.track);
  time("ts", at.begin_ns);
  out_ += ",\"s\":\"t\",\"name\":";
  text(at.name);
  out_ += ",\"args\":";
  arguments(with);
  out_ += '}';
}

void ChromeWriter::arrow(int from_process, int from_track, std::int64_t from_ns, int to_process,
                         int to_track, std::int64_t to_ns) {
  const auto end = [&](char phase, int process, int track, std::int64_t ns) {
    begin_event(phase, process, track);
    time("ts", ns);
    out_ += ",\"id\":";
    append(out_, arrows_);
    out_ += ",\"name\":\"message\",\"cat\":\"arrow\"";
    if (phase == 'f') out_ += ",\"bp\":\"e\"";
    out_ += '}';
  };
  end('s', from_process, from_track, from_ns);
  end('f', to_process, to_track, to_ns);
  ++arrows_;
}

std::string ChromeWriter::finish(const Arguments& about) {
  out_ += "\n],\"displayTimeUnit\":\"ms\",\"otherData\":";
  arguments(about);
  out_ += "}\n";
  return std::move(out_);
}

int SideBySide::place(std::int64_t begin_ns, std::int64_t end_ns) {
  for (std::size_t i = 0; i < free_from_.size(); ++i) {
    if (free_from_[i] > begin_ns) continue;
    free_from_[i] = end_ns;
    return static_cast<int>(i);
  }
  free_from_.push_back(end_ns);
  return static_cast<int>(free_from_.size()) - 1;
}

}  // namespace weft::dualpipe
