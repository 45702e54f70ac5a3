// Keeping the first and the last few kilobytes.
#include "error_output.h"

#include <algorithm>

namespace copycat {
namespace {

constexpr std::size_t kHead = 8 << 10;
constexpr std::size_t kTail = 16 << 10;
constexpr std::size_t kLongestLine = 2000;

}  // namespace

void ErrorOutput::append(std::string_view bytes) {
  const std::size_t room = std::min(bytes.size(), kHead - head_.size());
  head_ += bytes.substr(0, room);
  tail_ += bytes.substr(room);
  if (tail_.size() <= kTail) return;
  left_out_ += tail_.size() - kTail;
  tail_.erase(0, tail_.size() - kTail);
}

std::string ErrorOutput::text() const {
  if (!left_out_) return head_ + tail_;
  return head_ + "\n[" + std::to_string(left_out_) + " bytes left out]\n" + tail_;
}

std::string ErrorOutput::last_line() const {
  const std::string all = text();
  const auto end = all.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return {};
  const auto start = all.find_last_of('\n', end);
  const std::size_t first = start == std::string::npos ? 0 : start + 1;
  return all.substr(first, std::min(end + 1 - first, kLongestLine));
}

}  // namespace copycat
