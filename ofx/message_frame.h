// Frames on the socket: 4 bytes length of the JSON, 4 bytes number of descriptors, both little endian, then
// the JSON in UTF-8. Descriptors travel with the first byte.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace copycat {

constexpr std::size_t kFrameHeader = 8;
constexpr std::size_t kLongestMessage = std::size_t{16} << 20;

std::string frame_message(const std::string& json, std::size_t descriptors);

// Removes the first message from `received` and returns it; none until it is complete. Throws
// std::runtime_error when the length is impossible.
std::optional<std::string> take_message(std::string& received);

}  // namespace copycat
