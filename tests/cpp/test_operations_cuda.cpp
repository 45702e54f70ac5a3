// The GPU's kernels for crops and pictures, run on the CPU by a stand-in, against the CPU's own.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "kernels/launch_cuda.h"

using namespace copycat;

namespace {

// A picture's memory. The GPU reads whole words, of which three bytes may lie beyond.
std::vector<uint8_t> noise(int64_t elements, DType type, uint32_t state) {
  std::vector<uint8_t> bytes(static_cast<size_t>(elements * size_of(type)) + 4);
  for (int64_t i = 0; i < elements; ++i) {
    state = state * 1664525u + 1013904223u;
    const float value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
    uint8_t* at = bytes.data() + i * size_of(type);
    const uint16_t half = type == DType::kFloat16 ? float_to_half(value) : float_to_bfloat(value);
    if (type == DType::kFloat32) memcpy(at, &value, 4);
    if (type == DType::kUInt8) *at = static_cast<uint8_t>(state >> 24);
    if (size_of(type) == 2) memcpy(at, &half, 2);
  }
  return bytes;
}

float value_at(const std::vector<uint8_t>& bytes, int64_t i, DType type) {
  const uint8_t* at = bytes.data() + i * size_of(type);
  float value;
  uint16_t half;
  memcpy(&half, at, sizeof half);
  if (type == DType::kFloat16) return half_to_float(half);
  if (type == DType::kBFloat16) return bfloat_to_float(half);
  if (type == DType::kUInt8) return static_cast<float>(*at);
  memcpy(&value, at, sizeof value);
  return value;
}

// Compilers may put a sum's terms in another order, and a rounding apart then lies one number further.
void expect_alike(const std::vector<uint8_t>& actual, const std::vector<uint8_t>& expected, int64_t count,
                  DType type) {
  const double unit = type == DType::kFloat32   ? 1e-6
                      : type == DType::kFloat16 ? 1e-3
                      : type == DType::kUInt8   ? 0
                                                : 8e-3;
  for (int64_t i = 0; i < count; ++i) {
    const auto right = static_cast<double>(value_at(expected, i, type));
    NEAR(static_cast<double>(value_at(actual, i, type)), right, unit * (1 + std::fabs(right)));
  }
}

Encoding some_encoding(bool log) {
  Encoding encoding{};
  for (int c = 0; c < kMostChannels; ++c) {
    const auto number = static_cast<float>(c);
    encoding.log_scale[c] = log && c % 2 == 0 ? 3.0f + number : 0.0f;
    encoding.mean[c] = 0.1f * number;
    encoding.std[c] = 0.5f + 0.25f * number;
  }
  return encoding;
}

// Where the pixels of a picture lie in its memory: beside each other, every other channel of a wider one that
// begins at an odd element, or plane by plane.
enum class Layout { kDense, kSparse, kPlanar };
const Layout kLayouts[] = {Layout::kDense, Layout::kSparse, Layout::kPlanar};

int64_t room(Layout layout, int64_t pixels, int32_t channels) {
  return pixels * channels * (layout == Layout::kSparse ? 2 : 1) + 1;
}

Pixels picture(std::vector<uint8_t>& memory, Layout layout, DType type, int64_t count, int64_t height,
               int64_t width, int32_t channels) {
  uint8_t* data = memory.data();
  const int64_t plane = height * width;
  if (layout == Layout::kPlanar)
    return {data, type, count, height, width, channels, plane * channels, width, 1, plane};
  const int64_t step = layout == Layout::kSparse ? 2 : 1;
  if (layout == Layout::kSparse) data += size_of(type);
  const int64_t pixel = step * channels;
  return {data, type, count, height, width, channels, plane * pixel, width * pixel, pixel, step};
}

// The dense picture without its first columns: rows that begin at any address.
Pixels without_left(Pixels whole, int64_t columns) {
  whole.data = static_cast<uint8_t*>(whole.data) + columns * whole.pixel_stride * size_of(whole.dtype);
  whole.width -= columns;
  return whole;
}

const DType kInputs[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kUInt8};
const DType kOutputs[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};

}  // namespace

TEST(cuda_crops_are_the_cpu_s) {
  const int64_t frames = 3, height = 61, width = 87, batch = 5;
  const int32_t valid[] = {0, 0, 87, 61, 3, 2, 80, 55, 0, 0, 87, 61};
  const int32_t centres[] = {40, 30, 5, 5}, starts[] = {0, 1, 1, 2};
  for (const int32_t channels : {1, 3, 4, 16}) {
    for (const DType in : kInputs) {
      for (int variant = 0; variant < 6; ++variant) {
        const Layout layout = kLayouts[variant % 3];
        const bool log = variant & 1, graded = variant & 2;
        const DType out = kOutputs[(variant + static_cast<int>(in)) % 3];
        SampleCrops operation{};
        CropRule& rule = operation.rule;
        rule.frames = frames;
        rule.frame_height = 61;
        rule.frame_width = 87;
        rule.height = variant % 2 ? 32 : 33;
        rule.width = 47;
        rule.valid = valid;
        rule.centres = centres;
        rule.centre_starts = starts;
        rule.centre_count = 2;
        rule.centre_share = 0.5f;
        rule.turn = variant < 3 ? 0.0f : 0.7f;
        rule.flip = rule.flop = 0.4f;
        rule.gain = rule.contrast = rule.saturation = graded ? 0.6f : 0.0f;
        rule.crops_per_pair = 1;
        rule.total_samples = batch;
        rule.step = 12 + variant;
        rule.seed = 99;
        operation.batch = batch;
        operation.plane_count = 3;
        const int32_t widths[] = {channels, 3, 1};
        std::vector<uint8_t> banks[3], actual[3], expected[3];
        for (int p = 0; p < 3; ++p) {
          const DType type = p == 0 ? in : DType::kFloat16;
          banks[p] =
              noise(room(layout, frames * height * width, widths[p]), type, static_cast<uint32_t>(p + 1));
          operation.planes[p].source = picture(banks[p], layout, type, frames, height, width, widths[p]);
          operation.planes[p].output_dtype = out;
          operation.planes[p].encoding = some_encoding(log && p < 2);
          if (p < 2 && widths[p] >= 3) operation.planes[p].layers = {1, {{2, 1, 0}}};
          actual[p].resize(static_cast<size_t>(batch * rule.height * rule.width * widths[p] * size_of(out)),
                           0xee);
          expected[p] = actual[p];
          operation.planes[p].output = expected[p].data();
        }
        run_on_cpu(operation, 1);
        for (int p = 0; p < 3; ++p) operation.planes[p].output = actual[p].data();
        run_on_cuda(operation, 0, 0);
        for (int p = 0; p < 3; ++p)
          expect_alike(actual[p], expected[p], batch * rule.height * rule.width * widths[p], out);
      }
    }
  }
}

TEST(cuda_crop_positions_are_the_cpu_s) {
  const int32_t valid[] = {0, 0, 100, 90, 10, 20, 60, 70};
  CropPositions operation{};
  operation.rule.frames = 2;
  operation.rule.frame_height = 90;
  operation.rule.frame_width = 100;
  operation.rule.height = operation.rule.width = 32;
  operation.rule.valid = valid;
  operation.rule.turn = operation.rule.flip = 0.5f;
  operation.rule.crops_per_pair = 1;
  operation.rule.total_samples = 300;
  operation.batch = 300;
  std::vector<int32_t> actual(1500), expected(1500);
  operation.output = expected.data();
  run_on_cpu(operation, 1);
  operation.output = actual.data();
  run_on_cuda(operation, 0, 0);
  EQUAL(actual == expected, true);
}

TEST(cuda_pictures_are_encoded_and_decoded_as_on_the_cpu) {
  const int64_t count = 2, height = 35, width = 101;
  for (const int32_t channels : {1, 3, 4, 32}) {
    for (const DType in : kInputs) {
      for (int variant = 0; variant < 12; ++variant) {
        const Layout layout = kLayouts[variant % 3];
        const DType out = kOutputs[(variant + static_cast<int>(in)) % 3];
        auto memory = noise(room(layout, count * height * width, channels), in, 7);
        Pixels source = picture(memory, layout, in, count, height, width, channels);
        if (layout == Layout::kDense && variant & 1) source = without_left(source, 1);
        const int64_t numbers = count * height * source.width * channels;
        std::vector<uint8_t> expected(static_cast<size_t>(numbers * size_of(out)), 0xee), actual(expected);
        Recode operation{source, some_encoding(variant & 4), (variant & 8) != 0, expected.data(), out};
        run_on_cpu(operation, 1);
        operation.output = actual.data();
        run_on_cuda(operation, 0, 0);
        expect_alike(actual, expected, numbers, out);
      }
    }
  }
}

TEST(cuda_results_go_to_where_a_pictures_pixels_lie_as_on_the_cpu) {
  const int64_t count = 2, height = 35, width = 101;
  for (const int32_t channels : {1, 3, 4, 32}) {
    for (int variant = 0; variant < 18; ++variant) {
      const Layout layout = kLayouts[variant % 3];
      const DType in = kOutputs[variant / 3 % 3];
      auto memory = noise(room(Layout::kDense, count * height * width, channels), in, 7);
      const Pixels source = picture(memory, Layout::kDense, in, count, height, width, channels);
      const int64_t places = room(layout, count * height * width, channels);
      // What lies between the pixels stays.
      auto expected = noise(places, DType::kFloat32, 11), actual = expected;
      Recode operation{source, some_encoding(variant >= 9), true, nullptr, DType::kFloat32};
      operation.mattes = 0x80000005u;
      operation.picture = picture(expected, layout, DType::kFloat32, count, height, width, channels);
      run_on_cpu(operation, 1);
      operation.picture = picture(actual, layout, DType::kFloat32, count, height, width, channels);
      run_on_cuda(operation, 0, 0);
      expect_alike(actual, expected, places, DType::kFloat32);

      // Without a picture the same numbers, but for the mattes, lie beside each other.
      std::vector<float> dense(static_cast<size_t>(count * height * width * channels));
      operation.output = dense.data();
      operation.picture = {};
      run_on_cpu(operation, 1);
      const Pixels to = picture(expected, layout, DType::kFloat32, count, height, width, channels);
      const auto* first = static_cast<const float*>(to.data);
      for (int64_t i = 0; i < static_cast<int64_t>(dense.size()); ++i) {
        const int64_t pixel = i / channels, c = i % channels;
        const float value = dense[static_cast<size_t>(i)];
        EQUAL(first[pixel / (height * width) * to.count_stride + pixel / width % height * to.row_stride +
                    pixel % width * to.pixel_stride + c * to.channel_stride],
              operation.mattes >> c & 1u ? std::fmin(std::fmax(value, 0.0f), 1.0f) : value);
      }
    }
  }
}

TEST(cuda_pictures_are_downsized_as_on_the_cpu) {
  const int64_t count = 2, height = 11, width = 1501;
  for (const int32_t channels : {1, 3, 4, 32}) {
    for (const DType type : kInputs) {
      for (const Layout layout : kLayouts) {
        for (const int32_t factor : {2, 4}) {
          auto memory = noise(room(layout, count * height * width, channels), type, 5);
          Pixels source = picture(memory, layout, type, count, height, width, channels);
          if (layout == Layout::kDense) source = without_left(source, 1);
          const int64_t numbers =
              count * ((height + factor - 1) / factor) * ((source.width + factor - 1) / factor) * channels;
          std::vector<uint8_t> expected(static_cast<size_t>(numbers * size_of(type)) + 4, 0xee),
              actual(expected);
          run_on_cpu(Downsize{source, factor, expected.data()}, 1);
          run_on_cuda(Downsize{source, factor, actual.data()}, 0, 0);
          expect_alike(actual, expected, numbers, type);
        }
      }
    }
  }
}

TEST(cuda_statistics_of_huge_values_are_the_cpu_s) {
  const int64_t count = 2, height = 9, width = 211;
  const int32_t valid[] = {0, 0, 211, 9, 0, 0, 211, 9};
  for (const float size : {1e18f, 1.8e19f, 1e30f, 3e38f}) {
    auto memory = noise(room(Layout::kDense, count * height * width, 3), DType::kFloat32, 3);
    for (size_t i = 0; i < memory.size() / 4; ++i) {
      float value;
      memcpy(&value, memory.data() + 4 * i, sizeof value);
      value *= i % 3 == 0 || i == 100 ? size : 1.0f;  // one channel is huge, one has an outlier
      memcpy(memory.data() + 4 * i, &value, sizeof value);
    }
    const Pixels source = picture(memory, Layout::kDense, DType::kFloat32, count, height, width, 3);
    const int64_t parts = 3;
    std::vector<Moments> partial(static_cast<size_t>(parts * 3)), actual(3), expected(3);
    run_on_cpu(Statistics{source, valid, partial.data(), parts, expected.data()}, 1);
    run_on_cuda(Statistics{source, valid, partial.data(), parts, actual.data()}, 0, 0);
    for (size_t c = 0; c < actual.size(); ++c) {
      EQUAL(actual[c].count, expected[c].count);
      EQUAL(std::isfinite(expected[c].squares), true);
      const double deviation = std::sqrt(expected[c].squares / expected[c].count);
      NEAR(std::sqrt(actual[c].squares / actual[c].count) / deviation, 1, 1e-6);
      NEAR(actual[c].mean / deviation, expected[c].mean / deviation, 1e-6);
    }
  }
}

TEST(cuda_statistics_are_the_cpu_s) {
  const int64_t count = 2, height = 19, width = 211;
  const int32_t valid[] = {0, 0, 211, 19, 5, 3, 100, 12};
  for (const int32_t channels : {1, 3, 4, 7, 32}) {
    for (const Layout layout : kLayouts) {
      auto memory = noise(room(layout, count * height * width, channels), DType::kFloat32, 3);
      for (size_t i = 0; i + 4 < memory.size() / 4; i += 57) {
        const float bad = i % 2 ? std::numeric_limits<float>::infinity() : std::nanf("");
        memcpy(memory.data() + 4 * i, &bad, sizeof bad);
      }
      const Pixels source = picture(memory, layout, DType::kFloat32, count, height, width, channels);
      const int64_t parts = (count * height + 7) / 8;
      std::vector<Moments> partial(static_cast<size_t>(parts * channels));
      std::vector<Moments> actual(static_cast<size_t>(channels)), expected(actual);
      run_on_cpu(Statistics{source, valid, partial.data(), parts, expected.data()}, 1);
      run_on_cuda(Statistics{source, valid, partial.data(), parts, actual.data()}, 0, 0);
      for (size_t c = 0; c < actual.size(); ++c) {
        EQUAL(actual[c].count, expected[c].count);
        EQUAL(actual[c].non_finite, expected[c].non_finite);
        EQUAL(actual[c].minimum, expected[c].minimum);
        EQUAL(actual[c].maximum, expected[c].maximum);
        NEAR(actual[c].mean, expected[c].mean, 1e-6);
        NEAR(actual[c].squares / actual[c].count, expected[c].squares / expected[c].count, 1e-6);
      }
    }
  }
}
