// Packing and unpacking the header of a frame.
#include "message_frame.h"

#include <cstdint>
#include <stdexcept>

namespace copycat {
namespace {

void put_number(std::string& out, std::size_t number) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>((number >> shift) & 0xFF);
}

std::size_t get_number(const std::string& from, std::size_t at) {
  std::size_t number = 0;
  for (std::size_t i = 0; i < 4; ++i)
    number |= static_cast<std::size_t>(static_cast<unsigned char>(from[at + i])) << (8 * i);
  return number;
}

}  // namespace

std::string frame_message(const std::string& json, std::size_t descriptors) {
  std::string out;
  out.reserve(kFrameHeader + json.size());
  put_number(out, json.size());
  put_number(out, descriptors);
  out += json;
  return out;
}

std::optional<std::string> take_message(std::string& received) {
  if (received.size() < kFrameHeader) return std::nullopt;
  const std::size_t length = get_number(received, 0);
  if (length > kLongestMessage) throw std::runtime_error("a message of " + std::to_string(length) + " bytes");
  if (received.size() < kFrameHeader + length) return std::nullopt;
  std::string json = received.substr(kFrameHeader, length);
  received.erase(0, kFrameHeader + length);
  return json;
}

}  // namespace copycat
