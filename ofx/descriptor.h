// File descriptors of this process: owned, closed on exec, above those that a host may redirect.
#pragma once

#include <string>
#include <utility>

namespace copycat {

// Owns a file descriptor. One thread at a time.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }

  int number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  void close();

 private:
  int number_ = -1;
};

// Two connected descriptors. Of a pipe, the first reads and the second writes.
struct DescriptorPair {
  Descriptor first, second;
};

// Both throw std::runtime_error with a sentence when the process has no descriptor left.
DescriptorPair open_socket_pair();
DescriptorPair open_pipe();

// The same file under a higher number, for a host that closed its standard descriptors: whatever it opens or
// writes there must not meet ours. Empty, with errno set, when there is no descriptor left.
Descriptor moved_up(const Descriptor& low);

// "what (reason)", the reason being the system's for an errno.
std::string with_reason(const std::string& what, int error);

}  // namespace copycat
