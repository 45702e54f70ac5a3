// Copying pixels: as memory between equal formats, else pixel by pixel through float.
#include "image.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "../cpp/kernels/half.h"

namespace copycat {
namespace {

constexpr std::size_t kBytesPerThread = std::size_t{4} << 20;  // for less, a thread costs more than it saves
constexpr unsigned kMostThreads = 4;                           // memory bandwidth is the limit

// Calls work(first, last) on parts of [first, last), in threads when there is enough to do.
template <typename Work>
void in_parallel(int first, int last, std::size_t bytes, const Work& work) {
  const auto useful = static_cast<unsigned>(std::min<std::size_t>(bytes / kBytesPerThread + 1, kMostThreads));
  const int count = static_cast<int>(std::min(useful, std::max(1u, std::thread::hardware_concurrency())));
  std::vector<std::thread> threads;
  int from = first;
  for (int i = 0; i < count - 1; ++i) {
    const int to = first + static_cast<int>(static_cast<long long>(last - first) * (i + 1) / count);
    try {
      threads.emplace_back(work, from, to);
    } catch (const std::system_error&) {
      break;  // no threads left: this one does what remains
    }
    from = to;
  }
  work(from, last);
  for (auto& thread : threads) thread.join();
}

// Copies a row past the caches, which are smaller than a picture: saves reading the overwritten memory.
void copy_row(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
#if defined(__SSE2__)
  if (bytes >= 1024) {
    const std::size_t head = (16 - (reinterpret_cast<std::uintptr_t>(to) & 15)) & 15;
    std::memcpy(to, from, head);
    std::size_t done = head;
    for (; done + 64 <= bytes; done += 64) {
      const auto* source = reinterpret_cast<const __m128i*>(from + done);
      auto* target = reinterpret_cast<__m128i*>(to + done);
      const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
      const __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
      _mm_stream_si128(target, a);
      _mm_stream_si128(target + 1, b);
      _mm_stream_si128(target + 2, c);
      _mm_stream_si128(target + 3, d);
    }
    std::memcpy(to + done, from + done, bytes - done);
    return;
  }
#endif
  std::memcpy(to, from, bytes);
}

// Makes copy_row's writes visible to other threads and processes.
void finish_rows() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

bool has_row(Rows rows, int y) {
  const bool odd = (y & 1) != 0;
  return rows == Rows::all || odd == (rows == Rows::odd);
}

float read_component(const std::uint8_t* p, Depth depth) {
  switch (depth) {
    case Depth::byte_:
      return static_cast<float>(*p) / 255.0f;
    case Depth::short_: {
      std::uint16_t value;
      std::memcpy(&value, p, sizeof value);
      return static_cast<float>(value) / 65535.0f;
    }
    case Depth::half_: {
      std::uint16_t value;
      std::memcpy(&value, p, sizeof value);
      return half_to_float(value);
    }
    case Depth::float_:
      break;
  }
  float value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// `value` clamped to [0, 1] and scaled; NaN becomes 0.
float as_integer(float value, float most) { return value > 0 ? std::min(value, 1.0f) * most + 0.5f : 0.0f; }

void write_component(std::uint8_t* p, Depth depth, float value) {
  switch (depth) {
    case Depth::byte_:
      *p = static_cast<std::uint8_t>(as_integer(value, 255.0f));
      return;
    case Depth::short_: {
      const auto integer = static_cast<std::uint16_t>(as_integer(value, 65535.0f));
      std::memcpy(p, &integer, sizeof integer);
      return;
    }
    case Depth::half_: {
      const std::uint16_t half = float_to_half(value);
      std::memcpy(p, &half, sizeof half);
      return;
    }
    case Depth::float_:
      std::memcpy(p, &value, sizeof value);
  }
}

void convert_row(const PixelView& from, const PixelView& to, int x1, int x2, int y) {
  const std::size_t from_step = from.format.component_bytes(), to_step = to.format.component_bytes();
  const std::uint8_t* source = from.at(x1, y);
  std::uint8_t* target = to.at(x1, y);
  for (int x = x1; x < x2; ++x) {
    float rgba[4] = {0, 0, 0, 1};
    const int first_in = from.format.components == 1 ? 3 : 0;
    for (int c = 0; c < from.format.components; ++c, source += from_step)
      rgba[first_in + c] = read_component(source, from.format.depth);
    const int first_out = to.format.components == 1 ? 3 : 0;
    for (int c = 0; c < to.format.components; ++c, target += to_step)
      write_component(target, to.format.depth, rgba[first_out + c]);
  }
}

PixelFormat format_of(const Properties& image) {
  const std::string depth = image.text(kOfxImageEffectPropPixelDepth);
  const std::string components = image.text(kOfxImageEffectPropComponents);
  PixelFormat format;
  if (depth == kOfxBitDepthByte)
    format.depth = Depth::byte_;
  else if (depth == kOfxBitDepthShort)
    format.depth = Depth::short_;
  else if (depth == kOfxBitDepthHalf)
    format.depth = Depth::half_;
  else if (depth == kOfxBitDepthFloat)
    format.depth = Depth::float_;
  else
    throw std::runtime_error("pictures of the pixel depth \"" + depth + "\" cannot be read");
  if (components == kOfxImageComponentRGBA)
    format.components = 4;
  else if (components == kOfxImageComponentRGB)
    format.components = 3;
  else if (components == kOfxImageComponentAlpha)
    format.components = 1;
  else
    throw std::runtime_error("pictures with the components \"" + components + "\" cannot be read");
  return format;
}

}  // namespace

std::size_t PixelFormat::component_bytes() const {
  return depth == Depth::byte_ ? 1 : depth == Depth::float_ ? 4 : 2;
}

const char* PixelFormat::depth_name() const {
  constexpr const char* kNames[] = {"byte", "short", "half", "float"};
  return kNames[static_cast<int>(depth)];
}

const char* PixelFormat::components_name() const {
  return components == 4 ? "RGBA" : components == 3 ? "RGB" : "A";
}

int width(const OfxRectI& r) { return std::max(0, r.x2 - r.x1); }
int height(const OfxRectI& r) { return std::max(0, r.y2 - r.y1); }
bool is_empty(const OfxRectI& r) { return r.x2 <= r.x1 || r.y2 <= r.y1; }

OfxRectI intersection(const OfxRectI& a, const OfxRectI& b) {
  return {std::max(a.x1, b.x1), std::max(a.y1, b.y1), std::min(a.x2, b.x2), std::min(a.y2, b.y2)};
}

std::size_t packed_bytes(const OfxRectI& bounds, const PixelFormat& format) {
  return static_cast<std::size_t>(width(bounds)) * static_cast<std::size_t>(height(bounds)) *
         format.pixel_bytes();
}

PixelView top_down_view(void* memory, const OfxRectI& bounds, const PixelFormat& format) {
  const auto row =
      static_cast<std::ptrdiff_t>(static_cast<std::size_t>(width(bounds)) * format.pixel_bytes());
  auto* bottom = static_cast<std::uint8_t*>(memory) + row * std::max(0, height(bounds) - 1);
  return {bottom, -row, bounds, format};
}

void copy_pixels(const PixelView& from, const PixelView& to, const OfxRectI& region, Rows rows) {
  if (is_empty(region)) return;
  const std::size_t row = static_cast<std::size_t>(width(region)) * to.format.pixel_bytes();
  const bool plain = from.format == to.format;
  in_parallel(region.y1, region.y2, row * static_cast<std::size_t>(height(region)), [&](int first, int last) {
    for (int y = first; y < last; ++y) {
      if (!has_row(rows, y)) continue;
      if (plain)
        copy_row(to.at(region.x1, y), from.at(region.x1, y), row);
      else
        convert_row(from, to, region.x1, region.x2, y);
    }
    finish_rows();
  });
}

bool write_pixels(const PixelView& from, int file, const OfxRectI& region) {
  const std::size_t row = static_cast<std::size_t>(width(region)) * from.format.pixel_bytes();
  std::atomic<bool> written{true};
  in_parallel(region.y1, region.y2, row * static_cast<std::size_t>(height(region)), [&](int first, int last) {
    for (int y = last - 1; y >= first && written; --y) {
      const std::uint8_t* source = from.at(region.x1, y);
      const auto start = static_cast<off_t>(row * static_cast<std::size_t>(region.y2 - 1 - y));
      for (std::size_t done = 0; done < row;) {
        const ssize_t some = pwrite(file, source + done, row - done, start + static_cast<off_t>(done));
        if (some < 0 && errno == EINTR) continue;
        if (some <= 0) {
          written = false;
          return;
        }
        done += static_cast<std::size_t>(some);
      }
    }
  });
  return written;
}

void clear_pixels(const PixelView& to, const OfxRectI& region, Rows rows) {
  if (is_empty(region)) return;
  const std::size_t row = static_cast<std::size_t>(width(region)) * to.format.pixel_bytes();
  for (int y = region.y1; y < region.y2; ++y)
    if (has_row(rows, y)) std::memset(to.at(region.x1, y), 0, row);
}

void copy_or_clear(const PixelView& from, const PixelView& to, const OfxRectI& window, Rows rows) {
  const OfxRectI inside = intersection(window, to.bounds);
  const OfxRectI covered = from.data ? intersection(inside, from.bounds) : OfxRectI{};
  if (is_empty(covered)) {
    clear_pixels(to, inside, rows);
    return;
  }
  clear_pixels(to, {inside.x1, inside.y1, inside.x2, covered.y1}, rows);
  clear_pixels(to, {inside.x1, covered.y2, inside.x2, inside.y2}, rows);
  clear_pixels(to, {inside.x1, covered.y1, covered.x1, covered.y2}, rows);
  clear_pixels(to, {covered.x2, covered.y1, inside.x2, covered.y2}, rows);
  copy_pixels(from, to, covered, rows);
}

bool is_black(const PixelView& picture, const OfxRectI& region) {
  const PixelFormat& format = picture.format;
  const std::size_t colours =
      format.component_bytes() * static_cast<std::size_t>(std::min(format.components, 3));
  for (int y = region.y1; y < region.y2; ++y)
    for (int x = region.x1; x < region.x2; ++x) {
      const std::uint8_t* pixel = picture.at(x, y);
      if (std::any_of(pixel, pixel + colours, [](std::uint8_t byte) { return byte != 0; })) return false;
    }
  return true;
}

HostImage::HostImage(OfxImageClipHandle clip, OfxTime time) {
  OfxPropertySetHandle handle = nullptr;
  if (!clip || suites().effect->clipGetImage(clip, time, nullptr, &handle) != kOfxStatOK || !handle) return;
  properties_ = Properties(handle);
  auto* data = static_cast<std::uint8_t*>(properties_.pointer(kOfxImagePropData));
  const OfxRectI bounds = properties_.rectangle(kOfxImagePropBounds);
  if (!data || is_empty(bounds)) return;
  try {
    const PixelFormat format = format_of(properties_);
    const auto packed = static_cast<int>(static_cast<std::size_t>(width(bounds)) * format.pixel_bytes());
    view_ = {data, properties_.integer(kOfxImagePropRowBytes, packed), bounds, format};
  } catch (...) {
    suites().effect->clipReleaseImage(handle);
    throw;
  }
}

HostImage::~HostImage() {
  if (properties_) suites().effect->clipReleaseImage(properties_.handle());
}

double HostImage::scale(double scale) const {
  return properties_.number(kOfxImageEffectPropRenderScale, scale);
}

bool HostImage::is_scaled(double scale) const {
  const auto away = [&](int index) {
    return std::fabs(properties_.number(kOfxImageEffectPropRenderScale, scale, index) - 1.0) > 1e-6;
  };
  return away(0) || away(1);
}

}  // namespace copycat
