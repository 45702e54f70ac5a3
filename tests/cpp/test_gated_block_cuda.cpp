// The GPU's kernels of a gated block, run on the CPU by a stand-in, against plain arithmetic in double.
#include <vector>

#include "check.h"
#include "gated_block_case.h"
#include "kernels/launch_cuda.h"

using namespace copycat;

namespace {

// No, few and many pixels of all widths of the table; one and two runs per thread; lanes that hold nothing;
// more pixels than the blocks that walk over them take at once.
const Shape kCudaShapes[] = {{0, 32},   {1, 16},   {7, 32},   {137, 48}, {33, 64},  {130, 96},
                             {61, 112}, {70, 192}, {37, 256}, {41, 384}, {19, 512}, {3, 496}};

template <typename Body>
void each_cuda_case(const Body& body) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : kCudaShapes) body(shape, dtype);
}

}  // namespace

TEST(cuda_gates_are_those_of_the_definition) {
  each_cuda_case([](const Shape& shape, DType dtype) {
    const auto [pixels, channels] = shape;
    Numbers input = Numbers::noise(dtype, pixels * 2 * channels, 1);
    Numbers flow = Numbers::noise(dtype, pixels * channels, 2);
    Numbers product(dtype, pixels * channels), gradient(dtype, pixels * 2 * channels);
    run_on_cuda(Gate{pixels, channels, dtype, input.data(), product.data()}, 0, 0);
    run_on_cuda(GateGradient{pixels, channels, dtype, input.data(), flow.data(), gradient.data()}, 0, 0);
    check_gate(shape, dtype, input, flow, product, gradient);
  });
}

TEST(cuda_residual_norms_and_their_gradients_are_those_of_the_definition) {
  each_cuda_case([](const Shape& shape, DType dtype) {
    for (const auto& variant : kVariants) {
      for (const bool with_sum_gradient : {true, false}) {
        if (!variant[1] && !with_sum_gradient) continue;  // nothing would flow back
        Residual residual(shape, dtype, variant[0], variant[1]);
        run_on_cuda(residual.forward(), 0, 0);
        run_on_cuda(residual.backward(with_sum_gradient), 0, 0);
        check_residual(residual, with_sum_gradient);
      }
    }
  });
}

TEST(cuda_blocks_walk_over_more_pixels_than_they_take_at_once) {
  Residual residual({270000, 16}, DType::kBFloat16, true,
                    false);  // 128 pixels for each of 2048 blocks: 262144
  run_on_cuda(residual.forward(), 0, 0);
  for (const int64_t pixel : {0, 262143, 262144, 269999}) {
    for (int64_t c = 0, i = pixel * 16; c < 16; ++c, ++i)
      expect(residual.sum, i, residual.x[i] + residual.branch[i] * residual.scale[c], residual.dtype);
  }
}

TEST(cuda_gradients_do_not_depend_on_the_order_of_blocks_and_threads) {
  Residual one({1037, 48}, DType::kBFloat16, true, true), other(one);
  for (Residual* residual : {&one, &other}) {
    run_on_cuda(residual->forward(), 0, 0);
    run_on_cuda(residual->backward(true), 0, 0);  // two launches, so that `other` is made the other way round
  }
  EQUAL(results(other) == results(one), true);
}
