// JSON values, of which the messages to and from the worker consist.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace copycat {

// A JSON value. Objects keep the order in which members were set.
class Json {
 public:
  enum class Type { null, boolean, number, text, array, object };

  Json() = default;
  Json(bool value) : type_(Type::boolean), boolean_(value) {}
  Json(int value) : type_(Type::number), number_(value) {}
  Json(double value) : type_(Type::number), number_(value) {}
  Json(std::string value) : type_(Type::text), text_(std::move(value)) {}
  Json(const char* value) : type_(Type::text), text_(value) {}

  static Json object() { return of(Type::object); }
  static Json array() { return of(Type::array); }

  // Throws std::invalid_argument when `text` is not exactly one JSON value.
  static Json parse(std::string_view text);
  std::string dump() const;

  Type type() const { return type_; }
  bool is_null() const { return type_ == Type::null; }

  // The value, or the fallback when it has another type.
  bool boolean(bool fallback = false) const { return type_ == Type::boolean ? boolean_ : fallback; }
  double number(double fallback = 0) const { return type_ == Type::number ? number_ : fallback; }
  // None for anything but a whole number that an int holds.
  std::optional<int> integer() const;
  std::string text(std::string fallback = {}) const { return type_ == Type::text ? text_ : fallback; }

  // Elements of an array; empty for anything else.
  const std::vector<Json>& items() const { return items_; }
  void append(Json value) { items_.push_back(std::move(value)); }

  // Member of an object; null where there is none.
  const Json& operator[](std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  Json& set(std::string name, Json value);

 private:
  static Json of(Type type) {
    Json value;
    value.type_ = type;
    return value;
  }
  const Json* find(std::string_view name) const;
  void write(std::string& out) const;

  Type type_ = Type::null;
  bool boolean_ = false;
  double number_ = 0;
  std::string text_;
  std::vector<Json> items_;                            // array
  std::vector<std::pair<std::string, Json>> members_;  // object
  friend class JsonParser;
};

}  // namespace copycat
