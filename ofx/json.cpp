// Reading and writing JSON (RFC 8259).
#include "json.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <locale>
#include <sstream>
#include <stdexcept>

namespace copycat {
namespace {

constexpr int kDeepest = 64;  // nesting; messages need three levels

void write_text(const std::string& text, std::string& out) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_utf8(std::uint32_t code, std::string& out) {
  const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

}  // namespace

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  Json whole() {
    Json value = read(0);
    skip_space();
    if (at_ != text_.size()) fail("text after the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw std::invalid_argument(std::string("not JSON: ") + what + " at byte " + std::to_string(at_));
  }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }

  char next() {
    if (at_ >= text_.size()) fail("unexpected end");
    return text_[at_++];
  }

  bool take(char expected) {
    skip_space();
    if (at_ < text_.size() && text_[at_] == expected) {
      ++at_;
      return true;
    }
    return false;
  }

  Json literal(std::string_view word, Json value) {
    if (text_.substr(at_, word.size()) != word) fail("unknown word");
    at_ += word.size();
    return value;
  }

  Json read(int depth) {
    if (depth > kDeepest) fail("nested too deep");
    skip_space();
    if (at_ >= text_.size()) fail("unexpected end");
    switch (text_[at_]) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
        return Json(text());
      case 't':
        return literal("true", Json(true));
      case 'f':
        return literal("false", Json(false));
      case 'n':
        return literal("null", Json());
      default:
        return number();
    }
  }

  Json object(int depth) {
    Json value = Json::object();
    ++at_;
    if (take('}')) return value;
    do {
      skip_space();
      if (at_ >= text_.size() || text_[at_] != '"') fail("a member without a name");
      std::string name = text();
      if (!take(':')) fail("a member without a colon");
      value.members_.emplace_back(std::move(name), read(depth + 1));
    } while (take(','));
    if (!take('}')) fail("an object that does not end");
    return value;
  }

  Json array(int depth) {
    Json value = Json::array();
    ++at_;
    if (take(']')) return value;
    do value.items_.push_back(read(depth + 1));
    while (take(','));
    if (!take(']')) fail("an array that does not end");
    return value;
  }

  Json number() {
    const std::size_t start = at_;
    while (at_ < text_.size() &&
           std::string_view("+-.0123456789eE").find(text_[at_]) != std::string_view::npos)
      ++at_;
    // With the classic locale: the host's may write 0.5 as 0,5.
    std::istringstream stream{std::string(text_.substr(start, at_ - start))};
    stream.imbue(std::locale::classic());
    double value = 0;
    if (!(stream >> value) || stream.peek() != std::istringstream::traits_type::eof()) fail("a bad number");
    return Json(value);
  }

  std::uint32_t hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = next();
      code *= 16;
      if (c >= '0' && c <= '9')
        code += static_cast<std::uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        code += static_cast<std::uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        code += static_cast<std::uint32_t>(c - 'A' + 10);
      else
        fail("a bad escape");
    }
    return code;
  }

  std::string text() {
    std::string out;
    ++at_;
    for (;;) {
      char c = next();
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      c = next();
      switch (c) {
        case 'n':
          out += '\n';
          break;
        case 't':
          out += '\t';
          break;
        case 'r':
          out += '\r';
          break;
        case 'b':
          out += '\b';
          break;
        case 'f':
          out += '\f';
          break;
        case 'u': {
          std::uint32_t code = hex4();
          if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
            at_ += 2;
            code = 0x10000 + ((code - 0xD800) << 10) + ((hex4() - 0xDC00) & 0x3FF);
          }
          append_utf8(code, out);
          break;
        }
        default:
          out += c;
      }
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonParser(text).whole(); }

std::optional<int> Json::integer() const {
  const bool fits = type_ == Type::number && number_ >= std::numeric_limits<int>::min() &&
                    number_ <= std::numeric_limits<int>::max() && number_ == std::floor(number_);
  return fits ? std::optional<int>(static_cast<int>(number_)) : std::nullopt;
}

const Json* Json::find(std::string_view name) const {
  for (const auto& member : members_)
    if (member.first == name) return &member.second;
  return nullptr;
}

const Json& Json::operator[](std::string_view name) const {
  static const Json kNone;
  const Json* found = find(name);
  return found ? *found : kNone;
}

Json& Json::set(std::string name, Json value) {
  type_ = Type::object;
  for (auto& member : members_)
    if (member.first == name) {
      member.second = std::move(value);
      return *this;
    }
  members_.emplace_back(std::move(name), std::move(value));
  return *this;
}

void Json::write(std::string& out) const {
  switch (type_) {
    case Type::null:
      out += "null";
      return;
    case Type::boolean:
      out += boolean_ ? "true" : "false";
      return;
    case Type::number: {
      if (!std::isfinite(number_)) {
        out += "null";
        return;
      }
      std::ostringstream stream;
      stream.imbue(std::locale::classic());
      stream.precision(17);
      stream << number_;
      out += stream.str();
      return;
    }
    case Type::text:
      write_text(text_, out);
      return;
    case Type::array: {
      out += '[';
      for (std::size_t i = 0; i < items_.size(); ++i) {
        if (i) out += ',';
        items_[i].write(out);
      }
      out += ']';
      return;
    }
    case Type::object: {
      out += '{';
      bool first = true;
      for (const auto& [name, value] : members_) {
        if (!first) out += ',';
        first = false;
        write_text(name, out);
        out += ':';
        value.write(out);
      }
      out += '}';
      return;
    }
  }
}

std::string Json::dump() const {
  std::string out;
  write(out);
  return out;
}

}  // namespace copycat
