// Pictures of the host: layout and copying, for all bounds, row bytes, depths and components.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "host.h"

namespace copycat {

enum class Depth { byte_, short_, half_, float_ };

struct PixelFormat {
  Depth depth = Depth::float_;
  int components = 4;  // 1 alpha, 3 RGB, 4 RGBA

  std::size_t component_bytes() const;
  std::size_t pixel_bytes() const { return component_bytes() * static_cast<std::size_t>(components); }
  bool operator==(const PixelFormat& other) const {
    return depth == other.depth && components == other.components;
  }
  const char* depth_name() const;       // "byte", "short", "half", "float"
  const char* components_name() const;  // "A", "RGB", "RGBA"
};

// Pixels in memory. Origin bottom left: row `bounds.y1` is the bottom one. `data` points at (bounds.x1,
// bounds.y1); row_bytes is the distance to the next row up and may be negative.
struct PixelView {
  std::uint8_t* data = nullptr;
  std::ptrdiff_t row_bytes = 0;
  OfxRectI bounds{};
  PixelFormat format;

  std::uint8_t* at(int x, int y) const {
    return data + (y - bounds.y1) * row_bytes +
           (x - bounds.x1) * static_cast<std::ptrdiff_t>(format.pixel_bytes());
  }
};

int width(const OfxRectI& r);
int height(const OfxRectI& r);
bool is_empty(const OfxRectI& r);
OfxRectI intersection(const OfxRectI& a, const OfxRectI& b);

// Bytes of the pixels of `bounds`, packed.
std::size_t packed_bytes(const OfxRectI& bounds, const PixelFormat& format);

// A view of packed memory whose first row is the top one, as files and networks have it.
PixelView top_down_view(void* memory, const OfxRectI& bounds, const PixelFormat& format);

// Which rows a copy touches: interlaced renders ask for every other one.
enum class Rows { all, even, odd };

// Copies the pixels of `region`, which lies in both bounds; converts where the formats differ.
void copy_pixels(const PixelView& from, const PixelView& to, const OfxRectI& region, Rows rows = Rows::all);

// Writes the pixels of `region` to the start of a file, packed, the top row first. For fresh shared memory
// this takes half the time of a copy, since pages are not cleared first. False where the system cannot write
// to it.
bool write_pixels(const PixelView& from, int file, const OfxRectI& region);

// Makes the pixels of `region` transparent black.
void clear_pixels(const PixelView& to, const OfxRectI& region, Rows rows = Rows::all);

// Copies the pixels of `from` to the window of `to`; the window becomes transparent black where it has none.
void copy_or_clear(const PixelView& from, const PixelView& to, const OfxRectI& window, Rows rows = Rows::all);

// Whether all colour in `region` is 0, as in the pictures that some hosts deliver for unconnected clips.
// Alpha counts only in pictures without colour.
bool is_black(const PixelView& picture, const OfxRectI& region);

// An image of the host, released on destruction, as it must be before the action returns. One thread.
class HostImage {
 public:
  // Throws std::runtime_error for an unknown depth or unknown components.
  HostImage(OfxImageClipHandle clip, OfxTime time);
  ~HostImage();
  HostImage(const HostImage&) = delete;
  HostImage& operator=(const HostImage&) = delete;

  // False where the host has no picture at that time, which means transparent black.
  explicit operator bool() const { return view_.data != nullptr; }
  const PixelView& view() const { return view_; }

  // Its render scale; `scale` is the action's, for a picture that does not say.
  double scale(double scale) const;

  // Whether it is a proxy. `scale` is the action's, for pictures without a scale of their own.
  bool is_scaled(double scale) const;

 private:
  Properties properties_;
  PixelView view_;
};

}  // namespace copycat
