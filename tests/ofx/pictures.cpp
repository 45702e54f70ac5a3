// Laying pictures out in memory and looking at what became of them.
#include "pictures.h"

#include <cstring>
#include <fstream>
#include <stdexcept>

namespace test_host {
namespace {

constexpr std::uint8_t kGuard = 0xCD;
constexpr std::size_t kMargin = 64;

std::size_t component_bytes(const std::string& depth) {
  return depth == "byte" ? 1 : depth == "float" ? 4 : 2;
}

std::size_t component_count(const std::string& components) {
  return components == "RGBA" ? 4 : components == "RGB" ? 3 : 1;
}

const char* depth_constant(const std::string& depth) {
  if (depth == "byte") return kOfxBitDepthByte;
  if (depth == "short") return kOfxBitDepthShort;
  if (depth == "half") return kOfxBitDepthHalf;
  return depth == "float" ? kOfxBitDepthFloat : "OfxBitDepthStrange";
}

const char* components_constant(const std::string& components) {
  if (components == "RGBA") return kOfxImageComponentRGBA;
  return components == "RGB" ? kOfxImageComponentRGB : kOfxImageComponentAlpha;
}

}  // namespace

OfxRectI rectangle(const copycat::Json& numbers) {
  const auto& n = numbers.items();
  if (n.size() != 4) throw std::runtime_error("a rectangle has four numbers");
  return {static_cast<int>(n[0].number()), static_cast<int>(n[1].number()), static_cast<int>(n[2].number()),
          static_cast<int>(n[3].number())};
}

Picture::Picture(const copycat::Json& described)
    : bounds_(rectangle(described["bounds"])),
      rod_(described.has("rod") ? rectangle(described["rod"]) : bounds_),
      components_(described["components"].text("RGBA")),
      depth_(described["depth"].text("float")),
      scale_(described["scale"].number(1)),
      upside_down_(described["upside_down"].boolean()) {
  if (described["empty"].boolean()) return;
  const auto width = static_cast<std::size_t>(bounds_.x2 - bounds_.x1);
  const auto height = static_cast<std::size_t>(bounds_.y2 - bounds_.y1);
  row_ = width * component_count(components_) * component_bytes(depth_);
  stride_ = row_ + static_cast<std::size_t>(described["padding"].number());
  memory_.assign(stride_ * height + 2 * kMargin, kGuard);
  if (!described.has("file")) return;
  std::ifstream file(described["file"].text(), std::ios::binary);
  for (int y = bounds_.y2 - 1; y >= bounds_.y1; --y)
    if (!file.read(reinterpret_cast<char*>(row(y)), static_cast<std::streamsize>(row_)))
      throw std::runtime_error("not enough pixels in " + described["file"].text());
}

std::uint8_t* Picture::row(int y) const {
  const int from_start = upside_down_ ? bounds_.y2 - 1 - y : y - bounds_.y1;
  return memory_.data() + kMargin + static_cast<std::size_t>(from_start) * stride_;
}

void Picture::fill_property_set(PropertySet& properties) const {
  properties.put(kOfxPropType, std::string("OfxTypeImage"));
  properties.put(kOfxImageEffectPropPixelDepth, std::string(depth_constant(depth_)));
  properties.put(kOfxImageEffectPropComponents, std::string(components_constant(components_)));
  properties.put_rectangle(kOfxImagePropBounds, bounds_);
  properties.put_rectangle(kOfxImagePropRegionOfDefinition, rod_);
  const int stride = static_cast<int>(stride_);
  properties.put(kOfxImagePropRowBytes, upside_down_ ? -stride : stride);
  properties.put(kOfxImagePropData, static_cast<void*>(exists() ? row(bounds_.y1) : nullptr));
  properties.put(kOfxImageEffectPropRenderScale, scale_, 0);
  properties.put(kOfxImageEffectPropRenderScale, scale_, 1);
}

void Picture::write(const std::string& file) const {
  std::ofstream out(file, std::ios::binary);
  for (int y = bounds_.y2 - 1; y >= bounds_.y1; --y)
    out.write(reinterpret_cast<const char*>(row(y)), static_cast<std::streamsize>(row_));
}

std::size_t Picture::touched_outside(const OfxRectI& window) const {
  std::vector<std::uint8_t> outside = memory_;
  const std::size_t pixel = component_count(components_) * component_bytes(depth_);
  for (int y = window.y1; y < window.y2; ++y) {
    const auto offset = static_cast<std::size_t>(row(y) - memory_.data()) +
                        static_cast<std::size_t>(window.x1 - bounds_.x1) * pixel;
    std::memset(outside.data() + offset, kGuard, static_cast<std::size_t>(window.x2 - window.x1) * pixel);
  }
  std::size_t touched = 0;
  for (const std::uint8_t byte : outside) touched += byte != kGuard;
  return touched;
}

}  // namespace test_host
