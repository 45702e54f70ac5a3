// The header of a safetensors file: 8 bytes length, little endian, then JSON. No number in it is trusted.
#include "model_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "json.h"

namespace copycat {
namespace {

constexpr std::uint64_t kLongestHeader = std::uint64_t{16} << 20;  // a hundred times a large network's
constexpr std::size_t kMostChannels = 1024;
constexpr std::size_t kLongestName = 256;

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw std::runtime_error(path + ": " + why);
}

// <run>_<step>.cat: if it is missing, the worker may take another checkpoint of the run.
bool is_numbered(const std::string& path) {
  const std::size_t end = path.size() >= 4 ? path.size() - 4 : 0;
  if (path.compare(end, std::string::npos, ".cat") != 0) return false;
  std::size_t start = end;
  while (start > 0 && path[start - 1] >= '0' && path[start - 1] <= '9') --start;
  return start < end && start > 0 && path[start - 1] == '_';
}

std::string header_of(std::ifstream& file, std::uint64_t bytes, const std::string& path) {
  unsigned char start[8];
  std::uint64_t length = 0;
  if (bytes >= sizeof start && file.read(reinterpret_cast<char*>(start), sizeof start))
    for (int i = 7; i >= 0; --i) length = length << 8 | start[i];
  if (length < 2 || length > kLongestHeader || length > bytes - sizeof start)
    refuse(path, "this is not a .cat of copycat");
  std::string header(static_cast<std::size_t>(length), '\0');
  if (!file.read(header.data(), static_cast<std::streamsize>(length)))
    refuse(path, "the Model File cannot be read");
  return header;
}

std::string joined(const Json& names) {
  std::string text;
  for (const Json& name : names.items()) {
    const std::string word = name.text();
    if (word.empty() || word.size() > kLongestName) throw std::invalid_argument("a channel without a name");
    text += (text.empty() ? "" : ", ") + word;
  }
  if (text.empty() || names.items().size() > kMostChannels) throw std::invalid_argument("no channels");
  return text;
}

}  // namespace

std::optional<Channels> read_channels(const std::string& model_file) {
  std::string path = model_file;
  if (path.rfind('~', 0) == 0) {
    const char* home = std::getenv("HOME");
    if (!home || path.rfind("~/", 0) != 0) return std::nullopt;
    path = home + path.substr(1);
  }
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT && is_numbered(path)) return std::nullopt;
    refuse(path, std::string("the Model File cannot be read: ") + std::strerror(errno));
  }
  if (S_ISDIR(status.st_mode)) return std::nullopt;
  if (!S_ISREG(status.st_mode)) refuse(path, "this is not a .cat of copycat");  // reading a pipe would block
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse(path, std::string("the Model File cannot be read: ") + std::strerror(errno));
  const std::string header = header_of(file, static_cast<std::uint64_t>(status.st_size), path);
  try {
    const Json about = Json::parse(Json::parse(header)["__metadata__"]["copycat"].text());
    return Channels{joined(about["channelsIn"]), joined(about["channelsOut"])};
  } catch (const std::invalid_argument&) {
    refuse(path, "this is not a .cat of copycat");
  }
}

}  // namespace copycat
