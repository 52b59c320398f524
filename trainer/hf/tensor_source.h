// Where the weights of a model are read from: a checkpoint of a run, or a Hugging Face directory.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/expected.h"
#include "trainer/checkpoint/reader.h"

namespace weft::trainer::hf {

/// Threads: one.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// What it is called in messages.
  virtual std::string name() const = 0;
  virtual bool has(std::string_view tensor) const = 0;
  /// Errors: NotFound.
  virtual Expected<checkpoint::Shape> shape(std::string_view tensor) = 0;
  /// The whole tensor, row-major; `out` has its size. Errors: NotFound, Corrupt, Io; each names
  /// file and tensor.
  virtual Expected<void> read(std::string_view tensor, std::span<float> out) = 0;
};

/// The weights of one checkpoint (its item "model").
class CheckpointSource final : public TensorSource {
 public:
  /// `average`: the parameters' moving average, where the checkpoint has one of a tensor.
  explicit CheckpointSource(checkpoint::Reader& reader, bool average = false)
      : reader_(reader), average_(average) {}
  std::string name() const override;
  bool has(std::string_view tensor) const override { return reader_.has("model", tensor); }
  Expected<checkpoint::Shape> shape(std::string_view tensor) override {
    return reader_.shape("model", tensor);
  }
  Expected<void> read(std::string_view tensor, std::span<float> out) override {
    return reader_.read(average_ && reader_.has("ema", tensor) ? "ema" : "model", tensor, out);
  }

 private:
  checkpoint::Reader& reader_;
  bool average_;
};

}  // namespace weft::trainer::hf
