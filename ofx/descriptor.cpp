// Opening descriptors; every failure is an exception, so that no number is used that is not ours.
#include "descriptor.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace copycat {
namespace {

constexpr int kLowest = 10;  // above the standard descriptors and the worker's socket, which is its 3

[[noreturn]] void refuse(const char* what) {
  throw std::runtime_error(
      with_reason(std::string("the copycat worker cannot be started: no ") + what, errno));
}

DescriptorPair moved_up(const int (&ends)[2], const char* what) {
  const Descriptor low[2] = {Descriptor(ends[0]), Descriptor(ends[1])};
  DescriptorPair pair{copycat::moved_up(low[0]), copycat::moved_up(low[1])};
  if (!pair.first || !pair.second) refuse(what);
  return pair;
}

}  // namespace

void Descriptor::close() {
  if (number_ >= 0) ::close(std::exchange(number_, -1));
}

std::string with_reason(const std::string& what, int error) {
  return what + " (" + std::strerror(error) + ")";
}

DescriptorPair open_socket_pair() {
#ifdef SOCK_CLOEXEC
  constexpr int kKind = SOCK_STREAM | SOCK_CLOEXEC;
#else
  constexpr int kKind = SOCK_STREAM;
#endif
  int ends[2];
  if (socketpair(AF_UNIX, kKind, 0, ends) != 0) refuse("socket");
  DescriptorPair pair = moved_up(ends, "socket");
#ifdef SO_NOSIGPIPE
  const int on = 1;
  setsockopt(pair.first.number(), SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  return pair;
}

DescriptorPair open_pipe() {
  int ends[2];
#ifdef __linux__
  const int failed = pipe2(ends, O_CLOEXEC);
#else
  const int failed = pipe(ends);
#endif
  if (failed) refuse("pipe");
  return moved_up(ends, "pipe");
}

Descriptor moved_up(const Descriptor& low) {
  const int number = fcntl(low.number(), F_DUPFD_CLOEXEC, kLowest);
  if (number < 0 && errno == EINVAL) errno = EMFILE;  // a limit below ours
  return Descriptor(number);
}

}  // namespace copycat
