// One call of each operation of a gated block with random numbers, and what must come out of it: plain
// arithmetic in double.
#pragma once

#include <cmath>
#include <vector>

#include "check.h"
#include "kernels/gated_block.h"
#include "numbers.h"

namespace copycat {

inline double tolerance(DType dtype) { return dtype == DType::kFloat32 ? 4e-6 : 8e-3; }

// Values are around 1 in size, sums over pixels are compared relative to their number.
inline void expect(const Numbers& actual, int64_t i, double expected, DType dtype) {
  NEAR(actual[i], expected, tolerance(dtype) * (1 + std::fabs(expected)));
}

struct Shape {
  int64_t pixels;
  int32_t channels;
};

// The arguments of one residual_norm, and memory for its results and gradients.
struct Residual {
  int64_t pixels;
  int32_t channels;
  DType dtype;
  bool branched, normalised;
  Numbers x, branch, scale, weight, bias, sum, normed;
  Numbers sum_gradient, normed_gradient, x_gradient, branch_gradient;
  std::vector<float> partial, totals;

  Residual(const Shape& shape, DType type, bool with_branch, bool with_norm)
      : pixels(shape.pixels),
        channels(shape.channels),
        dtype(type),
        branched(with_branch),
        normalised(with_norm),
        x(Numbers::noise(type, pixels * channels, 1)),
        branch(Numbers::noise(type, pixels * channels, 2)),
        scale(Numbers::noise(type, channels, 3)),
        weight(Numbers::noise(type, channels, 4)),
        bias(Numbers::noise(type, channels, 5)),
        sum(type, pixels * channels),
        normed(type, pixels * channels),
        sum_gradient(Numbers::noise(type, pixels * channels, 6)),
        normed_gradient(Numbers::noise(type, pixels * channels, 7)),
        x_gradient(type, pixels * channels),
        branch_gradient(type, pixels * channels),
        partial(static_cast<size_t>(parts() * 3 * channels)),
        totals(static_cast<size_t>(3 * channels), 77.0f) {}

  int64_t parts() const { return (pixels + 499) / 500; }
  // Without a branch, the sum is x itself.
  Numbers& total() { return branched ? sum : x; }

  ResidualNorm forward() {
    return {pixels,
            channels,
            dtype,
            x.data(),
            branched ? branch.data() : nullptr,
            branched ? scale.data() : nullptr,
            normalised ? weight.data() : nullptr,
            normalised ? bias.data() : nullptr,
            branched ? sum.data() : nullptr,
            normalised ? normed.data() : nullptr};
  }

  ResidualNormGradient backward(bool with_sum_gradient) {
    return {pixels,
            channels,
            dtype,
            total().data(),
            branched ? branch.data() : nullptr,
            branched ? scale.data() : nullptr,
            normalised ? weight.data() : nullptr,
            with_sum_gradient ? sum_gradient.data() : nullptr,
            normalised ? normed_gradient.data() : nullptr,
            normalised ? x_gradient.data() : nullptr,
            branched ? branch_gradient.data() : nullptr,
            partial.data(),
            parts(),
            totals.data()};
  }
};

inline void check_residual(Residual& of, bool with_sum_gradient) {
  const int64_t channels = of.channels;
  std::vector<double> weight_sums(of.totals.size() / 3), bias_sums(weight_sums), scale_sums(weight_sums);
  for (int64_t pixel = 0; pixel < of.pixels; ++pixel) {
    const int64_t first = pixel * channels;
    double mean = 0, variance = 0, plain = 0, sloped = 0;
    for (int64_t c = 0; of.branched && c < channels; ++c)
      expect(of.sum, first + c, of.x[first + c] + of.branch[first + c] * of.scale[c], of.dtype);
    // From here on with the sum as it was stored, as the next layer and backward see it.
    const Numbers& total = of.total();
    const auto count = static_cast<double>(channels);
    for (int64_t c = 0; c < channels; ++c) mean += total[first + c] / count;
    for (int64_t c = 0; c < channels; ++c) variance += std::pow(total[first + c] - mean, 2) / count;
    const double inverse = 1 / std::sqrt(variance + 1e-6);
    for (int64_t c = 0; of.normalised && c < channels; ++c) {
      const double value = (total[first + c] - mean) * inverse;
      expect(of.normed, first + c, value * of.weight[c] + of.bias[c], of.dtype);
      const double gradient = of.normed_gradient[first + c];
      weight_sums[static_cast<size_t>(c)] += gradient * value;
      bias_sums[static_cast<size_t>(c)] += gradient;
      plain += gradient * of.weight[c] / count;
      sloped += gradient * of.weight[c] * value / count;
    }
    for (int64_t c = 0; c < channels; ++c) {
      double gradient = with_sum_gradient ? of.sum_gradient[first + c] : 0;
      if (of.normalised) {
        const double value = (total[first + c] - mean) * inverse;
        gradient += (of.normed_gradient[first + c] * of.weight[c] - plain - value * sloped) * inverse;
        expect(of.x_gradient, first + c, gradient, of.dtype);
      }
      if (!of.branched) continue;
      expect(of.branch_gradient, first + c, gradient * of.scale[c], of.dtype);
      scale_sums[static_cast<size_t>(c)] += gradient * of.branch[first + c];
    }
  }
  const double close = 2e-6 * static_cast<double>(of.pixels) + 1e-5;
  for (size_t c = 0; c < weight_sums.size(); ++c) {
    NEAR(static_cast<double>(of.totals[c]), weight_sums[c], close);
    NEAR(static_cast<double>(of.totals[weight_sums.size() + c]), bias_sums[c], close);
    NEAR(static_cast<double>(of.totals[2 * weight_sums.size() + c]), scale_sums[c], close);
  }
}

// All bytes that the operations wrote.
inline std::vector<uint8_t> results(const Residual& of) {
  std::vector<uint8_t> all;
  for (const Numbers* numbers : {&of.sum, &of.normed, &of.x_gradient, &of.branch_gradient})
    all.insert(all.end(), numbers->bytes().begin(), numbers->bytes().end());
  const auto* totals = reinterpret_cast<const uint8_t*>(of.totals.data());
  all.insert(all.end(), totals, totals + of.totals.size() * sizeof(float));
  return all;
}

// Both kinds of sum, with and without: (branch, norm).
inline const bool kVariants[][2] = {{true, true}, {false, true}, {true, false}};

// The gate's product and its gradient as they should be.
inline void check_gate(const Shape& shape, DType dtype, const Numbers& input, const Numbers& flow,
                       const Numbers& product, const Numbers& gradient) {
  const int32_t channels = shape.channels;
  for (int64_t i = 0; i < shape.pixels * channels; ++i) {
    const int64_t u = i / channels * 2 * channels + i % channels, v = u + channels;
    expect(product, i, input[u] * input[v], dtype);
    expect(gradient, u, flow[i] * input[v], dtype);
    expect(gradient, v, flow[i] * input[u], dtype);
  }
}

}  // namespace copycat
