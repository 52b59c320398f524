// One connection to another rank of the world, for all groups. Bytes that come in go to the streams
// of their groups; what goes out is written at once where the socket takes it. Internal to
// comm/tcp.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "comm/local/ring.h"
#include "comm/tcp/tcp_frame.h"
#include "comm/tcp/tcp_stream.h"

namespace weft::comm {

/// The group that a stream belongs to.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  virtual Operation* first_receive_from(int peer) = 0;
  /// Something has been placed in the stream from `peer`, or the link has changed.
  virtual void stream_moved(int peer) = 0;
};

/// Threads: that of its rank.
class TcpLink final : private FrameSink {
 public:
  /// Takes the connected, non-blocking socket. `who`: "world rank 3 at 10.0.0.7:41234".
  TcpLink(int socket, int poller, std::string who);
  ~TcpLink() override;
  TcpLink(const TcpLink&) = delete;
  TcpLink& operator=(const TcpLink&) = delete;

  const std::string& who() const { return who_; }
  /// Nothing comes any more: it has left in good order, or is lost.
  bool over() const { return left_ || lost_; }
  bool left() const { return left_; }
  const std::optional<Error>& lost() const { return lost_; }

  /// `index` of the group in the world, counted alike on all ranks, without gaps; both null where
  /// the peer is not a member or shares our memory.
  void add_stream(std::uint32_t index, TcpStream* stream, StreamOwner* owner, int peer);
  /// The group has ended or failed here. What is half-way in a frame is kept and sent; `give_up`:
  /// the message is not complete, and the peer is told.
  void end_stream(std::uint32_t index, bool give_up);

  /// Takes in what there is. True: something came, or the link is over.
  bool read(Bytes scratch);
  /// Goes on with what the socket did not take before. True: something went.
  bool write();
  /// A frame can begin.
  bool idle() const {
    return !over() && !broken_ && pending_head_.empty() && pending_.empty() && control_.empty();
  }
  /// Of this stream, bytes that the socket has not taken yet and that lie with the caller.
  bool holds(const TcpStream& stream) const { return pending_of_ == &stream; }
  /// Sends a data frame: the message's header when its first bytes go, and `payload`, which must
  /// stay where it is until holds() is false. Only when idle.
  void send(std::uint32_t index, TcpStream& stream, const MessageHeader* header,
            ConstBytes payload);
  void send_credit(std::uint32_t index, TcpStream& stream);
  void send_nudge();
  void send_bye();
  /// All is written, and the peer's host has it.
  bool delivered() const;

 private:
  struct Entry {
    TcpStream* stream = nullptr;
    StreamOwner* owner = nullptr;
    int peer = -1;
    bool ended = false;
  };

  Expected<void> begin(const FrameHeader& header) override;
  Bytes place(std::uint32_t group, std::size_t most) override;
  void placed(std::uint32_t group, std::size_t count) override;

  void control(const FrameHeader& header);
  /// What the socket takes of `pieces` in turn.
  std::size_t put(std::span<const ConstBytes> pieces);
  void want_write(bool wanted);
  void lose(Code code, std::string why);
  Operation* receive_of(const Entry& entry) const;

  int socket_;
  int poller_;
  std::string who_;
  FrameReader reader_{*this};
  std::vector<Entry> streams_;
  bool left_ = false;
  bool broken_ = false;  // cannot be written to; reading tells why
  std::optional<Error> lost_;

  // What the frame that goes out still lacks: of its headers, and of its payload.
  std::array<std::byte, sizeof(FrameHeader) + sizeof(MessageHeader)> head_{};
  ConstBytes pending_head_, pending_;
  TcpStream* pending_of_ = nullptr;
  std::vector<std::byte> kept_;     // a payload whose owner has ended
  std::vector<std::byte> control_;  // frames without payload, in front of the next with one
  bool wants_write_ = false, nudged_ = false;
};

}  // namespace weft::comm
