// Text to token ids and back. One value, two kinds behind it: bytes (bytes.h), and byte-level BPE
// from a Hugging Face tokenizer.json (hf.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/expected.h"
#include "trainer/tokenizer/chat_template.h"

namespace weft::trainer::tokenizer {

/// What a text may contain.
enum class Trust {
  Control,  // special and added tokens are recognised wherever their text stands
  Plain,    // none is: a book or a user cannot inject one
};

/// A part of a text that is encoded as one: tokens may span parts, added tokens may not.
struct Part {
  std::string_view text;
  Trust trust = Trust::Control;
};

/// What a tokenizer is, for people and for those who must fit a model to it.
struct Description {
  std::string kind;    // "byte" or "bpe"
  std::string source;  // the file, or ""
  int vocab_size = 0;
  int num_merges = 0;
  struct Added {
    std::int32_t id = 0;
    std::string content;
    bool special = false;
  };
  std::vector<Added> added;             // by id
  std::vector<std::string> components;  // of the pipeline, in order, such as "Split \p{N}{1,3}"
};

/// What a kind of tokenizer has to do. Implementations never change; threads: any.
class Model {
 public:
  virtual ~Model() = default;
  virtual void encode(std::span<const Part> parts, std::vector<std::int32_t>& ids) const = 0;
  /// Appends the bytes of an id inside the vocabulary.
  virtual void decode(std::int32_t id, std::string& bytes) const = 0;
  virtual int vocab_size() const = 0;
  virtual std::optional<std::int32_t> bos() const = 0;
  virtual std::optional<std::int32_t> eos() const = 0;
  /// An added token by its content; nothing when there is none.
  virtual std::optional<std::int32_t> added(std::string_view content) const = 0;
  /// Ids that the file wants around a text: what add_special_tokens adds.
  virtual std::span<const std::int32_t> prefix() const = 0;
  virtual std::span<const std::int32_t> suffix() const = 0;
  virtual Description describe() const = 0;
};

/// A value, cheap to copy. Threads: any; never changes.
class Tokenizer {
 public:
  static constexpr int kMaxNumbers = 9999;

  /// See bytes.h. Errors: InvalidArgument when numbers is outside 0..kMaxNumbers.
  static Expected<Tokenizer> byte_level(int numbers);
  /// A tokenizer.json, or a directory that holds one; a tokenizer_config.json beside it names the
  /// begin and end tokens. Errors: NotFound, Io; Corrupt for a file that contradicts itself;
  /// Unsupported for a component that weft does not have. Each names the file and the field.
  static Expected<Tokenizer> load(const std::filesystem::path& path);

  explicit Tokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {}

  std::vector<std::int32_t> encode(std::string_view text, Trust trust = Trust::Control) const;
  std::vector<std::int32_t> encode(std::span<const Part> parts) const;
  /// With what the file puts around every text, such as bos.
  std::vector<std::int32_t> encode_with_special(std::string_view text) const;

  /// Ids outside the vocabulary (a model's may be padded) come out as U+FFFD.
  std::string decode(std::span<const std::int32_t> ids) const;
  std::string decode(std::int32_t id) const { return decode(std::span(&id, 1)); }

  int vocab_size() const { return model_->vocab_size(); }
  std::optional<std::int32_t> bos() const { return model_->bos(); }
  /// What ends a text, or an assistant's turn when there is a chat template; -1, which no model
  /// ever draws, when there is no such token.
  std::int32_t eos() const { return (chat_end_ ? chat_end_ : model_->eos()).value_or(-1); }
  std::optional<std::int32_t> added(std::string_view content) const {
    return model_->added(content);
  }
  Description describe() const { return model_->describe(); }

  /// How conversations are written, when the job says so.
  const std::optional<ChatTemplate>& chat() const { return chat_; }
  /// The same with a template. Errors: InvalidArgument when a token that the template is made of is
  /// no token here.
  Expected<Tokenizer> with_chat(ChatTemplate chat) const;

 private:
  std::shared_ptr<const Model> model_;
  std::optional<ChatTemplate> chat_;
  std::optional<std::int32_t> chat_end_;
};

}  // namespace weft::trainer::tokenizer
