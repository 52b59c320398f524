// Signals as something to be polled.
#pragma once

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace weft::runtime {

/// Signals as a readable descriptor while it lives; the old mask comes back afterwards.
class SignalDescriptor {
 public:
  SignalDescriptor() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD}) sigaddset(&wanted, signal);
    ::sigprocmask(SIG_BLOCK, &wanted, &before_);
    // A blocked signal waits for its descriptor also when it is ignored, and what is ignored stays
    // so in the processes that are started from here, from their first instruction on: a batch
    // system's SIGUSR1 to all of them at any time ends none.
    user_before_ = ::signal(SIGUSR1, SIG_IGN);
    descriptor_ = ::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
  }
  ~SignalDescriptor() {
    ::close(descriptor_);
    if (user_before_ != SIG_ERR) ::signal(SIGUSR1, user_before_);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalDescriptor(const SignalDescriptor&) = delete;
  SignalDescriptor& operator=(const SignalDescriptor&) = delete;

  int get() const { return descriptor_; }
  /// How often it was asked since the last call: to stop, and (SIGUSR1) to save.
  struct Asked {
    int stops = 0, saves = 0;
  };
  Asked take() const {
    Asked asked;
    signalfd_siginfo info;
    while (::read(descriptor_, &info, sizeof info) == sizeof info) {
      asked.saves += info.ssi_signo == SIGUSR1;
      asked.stops += info.ssi_signo != SIGCHLD && info.ssi_signo != SIGUSR1;
    }
    return asked;
  }

 private:
  sigset_t before_;
  sighandler_t user_before_ = SIG_ERR;
  int descriptor_ = -1;
};

}  // namespace weft::runtime
