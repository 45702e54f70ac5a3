// Pictures of the test host: any bounds, row bytes, depth and components, with guards around the pixels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "abi.h"
#include "json.h"
#include "properties.h"

namespace test_host {

// Pixels in memory as a host may lay them out. Files hold them from the top row to the bottom, without gaps.
class Picture {
 public:
  // {"bounds": [x1, y1, x2, y2], "components": "RGBA", "depth": "float", "padding": bytes after each row,
  //  "upside_down": rows in memory from the top (negative row bytes), "file": raw pixels, "rod": [...],
  //  "scale": 1}
  explicit Picture(const copycat::Json& described);

  bool exists() const { return !memory_.empty(); }
  void fill_property_set(PropertySet& properties) const;
  void write(const std::string& file) const;
  // Bytes outside of `window` that were touched, in padding, guards or pixels.
  std::size_t touched_outside(const OfxRectI& window) const;
  OfxRectI rod() const { return rod_; }

 private:
  std::uint8_t* row(int y) const;

  OfxRectI bounds_{}, rod_{};
  std::string components_, depth_;
  double scale_ = 1;
  std::size_t row_ = 0, stride_ = 0;
  bool upside_down_ = false;
  mutable std::vector<std::uint8_t> memory_;
};

OfxRectI rectangle(const copycat::Json& numbers);

}  // namespace test_host
