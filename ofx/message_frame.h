// How a control message lies on the socket: 4 bytes length of the JSON, 4 bytes number of descriptors, both
// little endian, then the JSON in UTF-8. The descriptors travel with the first bytes.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace copycat {

constexpr std::size_t kFrameHeader = 8;
constexpr std::size_t kLongestMessage = std::size_t{16} << 20;

std::string frame_message(const std::string& json, std::size_t descriptors);

// Takes the first whole message off `received`; none while it has not arrived whole.
// Throws std::runtime_error when the bytes are no message.
std::optional<std::string> take_message(std::string& received);

}  // namespace copycat
