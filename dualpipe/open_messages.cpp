#include "dualpipe/open_messages.h"

namespace weft::dualpipe {
namespace {

Pass pass_of(Op message) {
  return message == Op::SendB || message == Op::RecvB ? Pass::Backward : Pass::Forward;
}

}  // namespace

void OpenMessages::start_receive(const PlannedAction& planned, std::size_t i) {
  const Action& action = planned.action;
  const auto into = stage(action.chunk).incoming(pass_of(action.op), action.chunk);
  const auto request = pipeline_.start_receive(action.peer, planned.tag, into);
  receives_[i] = {request, into.size(), true, recorder_.started()};
}

Expected<void> OpenMessages::await_receive(const Plan& plan, std::size_t i) {
  OpenReceive& receive = receives_[i];
  if (!receive.open) return {};
  receive.open = false;
  const PlannedAction& planned = plan.actions[i];
  recorder_.begin();
  recorder_.stand_waiting(Here::Doing::WaitsReceive, planned, i);
  const auto bytes = pipeline_.wait(receive.request);
  if (!bytes) return fail_in(planned.text, bytes.error());
  if (recorder_.is_on())
    recorder_.record_message(Record::What::Receive, planned.action, i, *bytes, receive.started);
  if (*bytes != receive.bytes) {
    return fail(Code::Corrupt, planned.text + ": " + std::to_string(*bytes) +
                                   " bytes came, expected " + std::to_string(receive.bytes) +
                                   "; do both sides run the same model and micro-batch size?");
  }
  return {};
}

Expected<void> OpenMessages::start_send(const PlannedAction& planned, std::size_t i) {
  while (num_sends_ > 0 && pipeline_.test(sends_[oldest_send_].request))
    WEFT_TRY(end_oldest_send());
  if (num_sends_ == kMaxSends) WEFT_TRY(end_oldest_send());
  const Action& action = planned.action;
  recorder_.begin();
  const auto data = stage(action.chunk).outgoing(pass_of(action.op), action.chunk);
  const auto request = pipeline_.start_send(action.peer, planned.tag, data);
  sends_[(oldest_send_ + num_sends_) % kMaxSends] = {request, &planned, i, data.size(),
                                                     recorder_.started()};
  ++num_sends_;
  return {};
}

Expected<void> OpenMessages::end_oldest_send() {
  const OpenSend send = sends_[oldest_send_];
  oldest_send_ = (oldest_send_ + 1) % kMaxSends;
  --num_sends_;
  const Action& action = send.planned->action;
  recorder_.begin();
  recorder_.stand_waiting(Here::Doing::WaitsSend, *send.planned, send.index);
  const auto done = pipeline_.wait(send.request);
  if (!done) return fail_in(send.planned->text, done.error());
  if (recorder_.is_on())
    recorder_.record_message(Record::What::Send, action, send.index, send.bytes, send.started);
  stage(action.chunk).sent(pass_of(action.op), action.chunk);
  return {};
}

Expected<void> OpenMessages::settle_sends() {
  while (num_sends_ > 0) WEFT_TRY(end_oldest_send());
  return {};
}

}  // namespace weft::dualpipe
