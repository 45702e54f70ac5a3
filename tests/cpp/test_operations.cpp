// The CPU launchers: all instruction sets give the same bits, threads cover all work, and results are as
// computed by hand.
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "kernels/processor.h"
#include "kernels/rows.h"
#include "kernels/threads.h"

using namespace copycat;

namespace {

std::vector<const RowKernels*> all_row_kernels() {
  std::vector<const RowKernels*> all{&kRowsBaseline};
#if defined(COPYCAT_X86)
  if (processor().avx2) all.push_back(&kRowsAvx2);
  if (processor().avx512) all.push_back(&kRowsAvx512);
#endif
  return all;
}

// Exactly as long as it must be, so that the sanitizer sees a step too far.
std::vector<uint8_t> noise(int64_t elements, DType type) {
  std::vector<uint8_t> bytes(static_cast<size_t>(elements * size_of(type)));
  uint32_t state = 12345;
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

// As many layers as there is room for, blue first.
Layers some_layers(int channels) {
  Layers layers{};
  layers.count = channels / 3;
  for (int l = 0; l < layers.count; ++l) {
    for (int k = 0; k < 3; ++k) layers.channels[l][k] = static_cast<int8_t>(3 * l + 2 - k);
  }
  return layers;
}

Pixels picture(void* data, DType type, int64_t count, int64_t height, int64_t width, int32_t channels) {
  return {data,     type, count, height, width, channels, height * width * channels, width * channels,
          channels, 1};
}

}  // namespace

TEST(instruction_sets_agree_to_the_last_bit) {
  for (int channels : {1, 2, 3, 4, 5, 7, 16, 32}) {
    for (int type = 0; type < kInputTypes; ++type) {
      const int64_t pixels = 301;
      auto in = noise(pixels * channels * 4, static_cast<DType>(type));
      for (int64_t pixel_stride : {static_cast<int64_t>(channels), static_cast<int64_t>(channels) * 2}) {
        const Row row{in.data(), pixels, channels, pixel_stride, 1};
        std::vector<std::vector<uint8_t>> results;
        for (const RowKernels* kernels : all_row_kernels()) {
          std::vector<uint8_t> result;
          for (int out = 0; out < kOutputTypes; ++out) {
            for (int variant = 0; variant < 4; ++variant) {
              const BlockEncoding encoding = expand(some_encoding(variant & 1), channels, variant & 2);
              std::vector<uint8_t> bytes(
                  static_cast<size_t>(pixels * channels * size_of(static_cast<DType>(out))));
              kernels->recode[type][out](row, encoding, bytes.data());
              result.insert(result.end(), bytes.begin(), bytes.end());
              if (encoding.inverse) continue;
              kernels->grade[type][out](row, {1.7f, 0.6f, 1.4f}, some_layers(channels), encoding,
                                        bytes.data());
              result.insert(result.end(), bytes.begin(), bytes.end());
            }
          }
          for (int factor : {2, 4}) {
            std::vector<uint8_t> bytes(static_cast<size_t>((pixels + factor - 1) / factor * channels *
                                                           size_of(static_cast<DType>(type))));
            kernels->downsize[type](row, factor / 2, pixels * pixel_stride, factor, bytes.data());
            result.insert(result.end(), bytes.begin(), bytes.end());
          }
          std::vector<Moments> moments(static_cast<size_t>(channels), no_moments());
          kernels->moments[type](row, moments.data());
          const auto* bytes = reinterpret_cast<const uint8_t*>(moments.data());
          result.insert(result.end(), bytes, bytes + moments.size() * sizeof(Moments));
          results.push_back(result);
        }
        for (const auto& result : results) EQUAL(result == results[0], true);
      }
    }
  }
}

TEST(spread_does_everything_once) {
  for (int threads : {1, 2, 5}) {
    for (int64_t count : {0, 1, 7, 1000}) {
      for (int64_t grain : {1, 3, 5000}) {
        std::vector<std::atomic<int>> done(static_cast<size_t>(count));
        spread(count, grain, threads, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++done[static_cast<size_t>(i)];
        });
        for (const auto& times : done) EQUAL(times.load(), 1);
      }
    }
  }
}

TEST(turned_crops_are_the_pixels_by_hand) {
  std::vector<float> bank(2 * 6 * 7 * 3);
  for (size_t i = 0; i < bank.size(); ++i) bank[i] = static_cast<float>(i);
  const int32_t valid[] = {0, 0, 7, 6, 1, 1, 7, 6};
  SampleCrops operation{};
  operation.rule = {2,    6,    7, 3, 4, valid, nullptr, nullptr, 0, 0.0f,    0.5f,
                    0.5f, 0.7f, 0, 0, 0, 1,     0,       64,      5, nullptr, 11};
  operation.batch = 64;
  operation.plane_count = 1;
  std::vector<float> output(64 * 3 * 4 * 3);
  const Encoding plain = [] {
    Encoding encoding = some_encoding(false);
    for (int c = 0; c < 3; ++c) {
      encoding.mean[c] = 0;
      encoding.std[c] = 1;
    }
    return encoding;
  }();
  operation.planes[0] = {
      picture(bank.data(), DType::kFloat32, 2, 6, 7, 3), output.data(), DType::kFloat32, plain, {}};
  run_on_cpu(operation, 2);
  for (int64_t b = 0; b < 64; ++b) {
    const Placement at = draw_placement(operation.rule, b);
    for (int y = 0; y < 3; ++y) {
      for (int x = 0; x < 4; ++x) {
        const int v = at.flip ? 2 - y : y;
        const int u = at.flop ? 3 - x : x;
        const int row = at.quarters == 0 ? v : at.quarters == 1 ? u : at.quarters == 2 ? 2 - v : 3 - u;
        const int column = at.quarters == 0 ? u : at.quarters == 1 ? 2 - v : at.quarters == 2 ? 3 - u : v;
        for (int c = 0; c < 3; ++c) {
          const int from = ((at.frame * 6 + at.y + row) * 7 + at.x + column) * 3 + c;
          EQUAL(output[static_cast<size_t>(((b * 3 + y) * 4 + x) * 3 + c)], bank[static_cast<size_t>(from)]);
        }
      }
    }
  }
}

TEST(a_crop_is_graded_as_its_sample_was_drawn_and_a_matte_is_not) {
  const auto bank = [](int32_t channels) {
    std::vector<float> pixels(static_cast<size_t>(5 * 6 * channels));
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(i % 17) / 8 - 0.5f;
    return pixels;
  };
  std::vector<float> input = bank(5), target = bank(3), input_out(64 * 2 * 3 * 5), target_out(64 * 2 * 3 * 3);
  const int32_t valid[] = {0, 0, 6, 5};
  SampleCrops operation{};
  operation.rule.frames = operation.rule.crops_per_pair = 1;
  operation.rule.frame_height = 5;
  operation.rule.frame_width = 6;
  operation.rule.height = 2;
  operation.rule.width = 3;
  operation.rule.valid = valid;
  operation.rule.gain = operation.rule.contrast = operation.rule.saturation = 0.5f;
  operation.rule.total_samples = 64;
  operation.rule.step = 3;
  operation.batch = 64;
  operation.plane_count = 2;
  Encoding plain{};
  for (float& std : plain.std) std = 1;
  // Depth, blue, green, red and alpha; and a target whose channels are no colours.
  const Layers layers{1, {{3, 2, 1}}};
  operation.planes[0] = {picture(input.data(), DType::kFloat32, 1, 5, 6, 5), input_out.data(),
                         DType::kFloat32, plain, layers};
  operation.planes[1] = {
      picture(target.data(), DType::kFloat32, 1, 5, 6, 3), target_out.data(), DType::kFloat32, plain, {}};
  run_on_cpu(operation, 2);
  int changed = 0;
  for (int64_t b = 0; b < 64; ++b) {
    const Placement at = draw_placement(operation.rule, b);
    const Grade grade = draw_grade(operation.rule, b);
    changed += changes_nothing(grade) ? 0 : 1;
    for (int i = 0; i < 6; ++i) {
      const int from = (at.y + i / 3) * 6 + at.x + i % 3;
      const float* in = &input[static_cast<size_t>(from * 5)];
      const float* out = &input_out[static_cast<size_t>((b * 6 + i) * 5)];
      double colours[3], grey = 0;
      const double weights[] = {0.2126, 0.7152, 0.0722};
      for (int k = 0; k < 3; ++k) {
        const double x = static_cast<double>(in[3 - k]) * static_cast<double>(grade.gain);
        colours[k] = (x - 0.5) * static_cast<double>(grade.contrast) + 0.5;
        grey += weights[k] * colours[k];
      }
      for (int k = 0; k < 3; ++k) {
        NEAR(out[3 - k], grey + static_cast<double>(grade.saturation) * (colours[k] - grey), 4e-6);
      }
      EQUAL(out[0], in[0]);
      EQUAL(out[4], in[4]);
      for (int c = 0; c < 3; ++c) {
        EQUAL(target_out[static_cast<size_t>((b * 6 + i) * 3 + c)],
              target[static_cast<size_t>(from * 3 + c)]);
      }
    }
  }
  EQUAL(changed > 48 && changed < 64, true);  // 7 of 8
}

TEST(downsize_averages_what_exists_at_the_edges) {
  std::vector<float> bank{1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::vector<float> output(4);
  run_on_cpu(Downsize{picture(bank.data(), DType::kFloat32, 1, 3, 3, 1), 2, output.data()}, 1);
  const float expected[] = {3.0f, 4.5f, 7.5f, 9.0f};
  for (size_t i = 0; i < 4; ++i) EQUAL(output[i], expected[i]);
}

TEST(downsized_bytes_are_rounded_to_nearest_and_ties_to_even) {
  for (const int32_t channels : {1, 2, 3, 4, 5}) {
    for (const int64_t width : {1, 2, 7, 12, 2042}) {  // a sum of four is 0 to 1020; a width may be odd
      const int64_t row = width * channels;
      std::vector<uint8_t> bank(static_cast<size_t>(2 * row));
      for (size_t i = 0; i < bank.size(); ++i) bank[i] = static_cast<uint8_t>(i * i / 7 + i);
      std::vector<uint8_t> output(static_cast<size_t>((width + 1) / 2 * channels), 77);
      run_on_cpu(Downsize{picture(bank.data(), DType::kUInt8, 1, 2, width, channels), 2, output.data()}, 1);
      for (int64_t i = 0; i < static_cast<int64_t>(output.size()); ++i) {
        const int64_t x = i / channels * 2, at = x * channels + i % channels;
        const auto value = [&](int64_t e) { return static_cast<double>(bank[static_cast<size_t>(e)]); };
        const double left = value(at) + value(row + at);
        const double mean =
            x + 1 < width ? (left + value(at + channels) + value(row + at + channels)) / 4 : left / 2;
        EQUAL(static_cast<double>(output[static_cast<size_t>(i)]), std::nearbyint(mean));
      }
    }
  }
}

TEST(statistics_do_not_depend_on_threads_and_leave_out_what_is_not_finite) {
  std::vector<float> bank(3 * 5 * 6 * 2, 1e6f);
  bank[0] = std::numeric_limits<float>::quiet_NaN();
  bank[3] = std::numeric_limits<float>::infinity();
  bank[14] = 1e6f + 1;
  const int32_t valid[] = {0, 0, 6, 5, 0, 0, 6, 5, 2, 2, 3, 3};
  std::vector<Moments> results;
  for (int threads : {1, 3}) {
    std::vector<Moments> partial(4 * 2), output(2);
    run_on_cpu(Statistics{picture(bank.data(), DType::kFloat32, 3, 5, 6, 2), valid, partial.data(), 4,
                          output.data()},
               threads);
    results.insert(results.end(), output.begin(), output.end());
  }
  EQUAL(memcmp(&results[0], &results[2], 2 * sizeof(Moments)), 0);
  EQUAL(results[0].count, 60.0);  // 30 + 30 + 1 pixels, one of them NaN
  EQUAL(results[0].non_finite, 1.0);
  EQUAL(results[1].non_finite, 1.0);
  EQUAL(results[0].maximum, 1000001.0);
  NEAR(results[0].mean, 1e6 + 1.0 / 60, 1e-9);
  NEAR(results[0].squares, 1 - 1.0 / 60, 1e-6);
  EQUAL(results[1].squares, 0.0);
}
