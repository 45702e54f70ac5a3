// Stands for CUDA on the CPU, as far as the kernels use it: a grid's blocks run one after the other, a
// block's threads as fibers that take turns where they wait for each other. So the very source of a kernel
// runs under the sanitizers. Blocks and threads run in rising order in one launch and in falling order in the
// next, so that a missing barrier shows; a block whose threads wait for each other for ever ends the program.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned in_x = 1, unsigned in_y = 1, unsigned in_z = 1) : x(in_x), y(in_y), z(in_z) {}
};

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

struct alignas(16) float4 {
  float x, y, z, w;
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// Also checks the alignment, which a GPU insists on.
template <typename T>
T __ldg(const T* address) {
  if (reinterpret_cast<uintptr_t>(address) % alignof(T) != 0) {
    std::printf("misaligned read of %zu bytes\n", sizeof(T));
    std::abort();
  }
  return *address;
}

inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}

using std::fmaxf;
using std::fminf;

namespace stand_in {

enum class State { kRunning, kAtWarp, kAtBlock, kDone };

struct Fiber {
  ucontext_t context;
  State state;
  uint64_t deposit;  // what a shuffle hands to other lanes
};

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  unsigned current;
  const std::function<void()>* body;
};

inline Block* running = nullptr;
inline std::vector<std::unique_ptr<char[]>> stacks;  // of the threads, kept from block to block
inline bool falling = false;

inline void wait(State state) {
  Fiber& fiber = running->fibers[running->current];
  fiber.state = state;
  swapcontext(&fiber.context, &running->scheduler);
}

inline void enter() {
  (*running->body)();
  wait(State::kDone);
}

}  // namespace stand_in

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace stand_in {

// Lets the threads first ... end - 1 go on when all of them that are not done wait at `state`.
inline bool release(Block& block, unsigned first, unsigned end, State state) {
  bool any = false;
  for (unsigned i = first; i < end; ++i) {
    if (block.fibers[i].state == State::kDone) continue;
    if (block.fibers[i].state != state) return false;
    any = true;
  }
  for (unsigned i = first; any && i < end; ++i) {
    if (block.fibers[i].state == state) block.fibers[i].state = State::kRunning;
  }
  return any;
}

// A function of its own, as getcontext may return twice.
[[gnu::noinline]] inline void prepare(Fiber* fiber, char* stack, size_t size) {
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = stack;
  fiber->context.uc_stack.ss_size = size;
  fiber->context.uc_link = nullptr;
  fiber->state = State::kRunning;
  makecontext(&fiber->context, enter, 0);
}

inline void run_block(unsigned threads, const std::function<void()>& body) {
  constexpr size_t kStack = 1 << 17;
  Block block;
  block.fibers.resize(threads);
  block.body = &body;
  running = &block;
  while (stacks.size() < threads) stacks.push_back(std::make_unique<char[]>(kStack));
  for (unsigned i = 0; i < threads; ++i) prepare(&block.fibers[i], stacks[i].get(), kStack);
  while (true) {
    for (unsigned i = 0; i < threads; ++i) {
      block.current = falling ? threads - 1 - i : i;
      threadIdx.x = block.current;
      Fiber& fiber = block.fibers[block.current];
      if (fiber.state == State::kRunning) swapcontext(&block.scheduler, &fiber.context);
    }
    bool going_on = release(block, 0, threads, State::kAtBlock);
    for (unsigned first = 0; first < threads; first += 32) {
      going_on |= release(block, first, first + 32 < threads ? first + 32 : threads, State::kAtWarp);
    }
    if (going_on) continue;
    for (const Fiber& fiber : block.fibers) {
      if (fiber.state == State::kDone) continue;
      std::printf("the threads of a block wait for each other for ever\n");
      std::abort();
    }
    return;
  }
}

}  // namespace stand_in

inline void __syncthreads() { stand_in::wait(stand_in::State::kAtBlock); }

template <typename T>
T __shfl_xor_sync(uint32_t, T value, int distance) {
  stand_in::Block& block = *stand_in::running;
  const unsigned thread = block.current;
  memcpy(&block.fibers[thread].deposit, &value, sizeof value);
  stand_in::wait(stand_in::State::kAtWarp);
  memcpy(&value, &block.fibers[thread ^ static_cast<unsigned>(distance)].deposit, sizeof value);
  stand_in::wait(stand_in::State::kAtWarp);
  return value;
}

typedef int cudaError_t;
typedef struct CUstream_st* cudaStream_t;
constexpr cudaError_t cudaSuccess = 0;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  cudaStream_t stream;
};

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  const std::function<void()> body = [&] { kernel(arguments...); };
  for (unsigned i = 0; i < gridDim.x; ++i) {
    blockIdx.x = stand_in::falling ? gridDim.x - 1 - i : i;
    stand_in::run_block(blockDim.x, body);
  }
  stand_in::falling = !stand_in::falling;
  return cudaSuccess;
}
