// The loops between a gated block's convolutions against plain arithmetic in double, on any number of threads
// and with every instruction set.
#include <cmath>
#include <vector>

#include "check.h"
#include "gated_block_case.h"
#include "kernels/processor.h"

using namespace copycat;

namespace {

// No pixel, one pixel, an incomplete group of eight, several threads' ranges, the last of them incomplete;
// widths with loops of their own and others.
const Shape kShapes[] = {{0, 32},    {1, 16},    {7, 32},    {9, 48},   {33, 64},
                         {2049, 32}, {1037, 96}, {700, 112}, {130, 256}};
template <typename Body>
void each_case(const Body& body) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : kShapes) body(shape, dtype);
}

std::vector<const GatedBlockKernels*> all_gated_block_kernels(DType dtype) {
  const int type = dtype == DType::kBFloat16 ? 1 : 0;
  std::vector<const GatedBlockKernels*> all{&kGatedBlockBaseline[type]};
#if defined(COPYCAT_X86)
  if (processor().avx2) all.push_back(&kGatedBlockAvx2[type]);
  if (processor().avx512) all.push_back(&kGatedBlockAvx512[type]);
#endif
  return all;
}

}  // namespace

TEST(gates_multiply_the_halves_and_their_gradients_cross_over) {
  each_case([](const Shape& shape, DType dtype) {
    const auto [pixels, channels] = shape;
    Numbers input = Numbers::noise(dtype, pixels * 2 * channels, 1);
    Numbers flow = Numbers::noise(dtype, pixels * channels, 2);
    Numbers product(dtype, pixels * channels), gradient(dtype, pixels * 2 * channels);
    run_on_cpu(Gate{pixels, channels, dtype, input.data(), product.data()}, 1);
    run_on_cpu(GateGradient{pixels, channels, dtype, input.data(), flow.data(), gradient.data()}, 1);
    check_gate(shape, dtype, input, flow, product, gradient);
    Numbers again(dtype, pixels * channels), gradient_again(dtype, pixels * 2 * channels);
    run_on_cpu(Gate{pixels, channels, dtype, input.data(), again.data()}, 3);
    run_on_cpu(GateGradient{pixels, channels, dtype, input.data(), flow.data(), gradient_again.data()}, 3);
    EQUAL(again.bytes() == product.bytes(), true);
    EQUAL(gradient_again.bytes() == gradient.bytes(), true);
  });
}

TEST(residual_norms_and_their_gradients_are_those_of_the_definition) {
  each_case([](const Shape& shape, DType dtype) {
    for (const auto& variant : kVariants) {
      for (const bool with_sum_gradient : {true, false}) {
        if (!variant[1] && !with_sum_gradient) continue;  // nothing would flow back
        Residual residual(shape, dtype, variant[0], variant[1]);
        run_on_cpu(residual.forward(), 1);
        run_on_cpu(residual.backward(with_sum_gradient), 1);
        check_residual(residual, with_sum_gradient);
      }
    }
  });
}

TEST(residual_norms_do_not_depend_on_the_threads) {
  each_case([](const Shape& shape, DType dtype) {
    std::vector<std::vector<uint8_t>> outputs;
    for (const int threads : {1, 2, 5}) {
      Residual residual(shape, dtype, true, true);
      run_on_cpu(residual.forward(), threads);
      run_on_cpu(residual.backward(true), threads);
      outputs.push_back(results(residual));
    }
    EQUAL(outputs[1] == outputs[0], true);
    EQUAL(outputs[2] == outputs[0], true);
  });
}

TEST(gated_blocks_are_the_same_to_the_last_bit_with_every_instruction_set) {
  each_case([](const Shape& shape, DType dtype) {
    std::vector<std::vector<uint8_t>> outputs;
    for (const GatedBlockKernels* kernels : all_gated_block_kernels(dtype)) {
      std::vector<uint8_t> all;
      for (const auto& variant : kVariants) {
        Residual residual(shape, dtype, variant[0], variant[1]);
        kernels->residual_norm(residual.forward(), 0, shape.pixels);
        kernels->residual_norm_gradient(residual.backward(true), 0, shape.pixels, residual.totals.data());
        const auto bytes = results(residual);
        all.insert(all.end(), bytes.begin(), bytes.end());
      }
      outputs.push_back(all);
    }
    for (const auto& other : outputs) EQUAL(other == outputs[0], true);
  });
}

TEST(a_value_that_is_not_finite_stays_in_its_pixel) {
  const float nan = std::nanf("");
  std::vector<float> x(3 * 16, 1.0f), normed(3 * 16);
  for (size_t i = 0; i < 16; ++i) x[i] = x[32 + i] = static_cast<float>(i);
  std::vector<float> weight(16, 1.0f), bias(16, 0.0f);
  x[16] = nan;
  run_on_cpu(ResidualNorm{3, 16, DType::kFloat32, x.data(), nullptr, nullptr, weight.data(), bias.data(),
                          nullptr, normed.data()},
             1);
  for (size_t i = 0; i < 16; ++i) {
    EQUAL(std::isfinite(normed[i]) && std::isfinite(normed[32 + i]), true);
    EQUAL(std::isnan(normed[16 + i]), true);
  }
}
