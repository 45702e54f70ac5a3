// Runs the operations of whole_block.h and add_enlarged.h on the CPU: tiles and ranges of pixels over
// threads.
#include <utility>

#include "scratch.h"
#include "threads.h"
#include "vector_kernels.h"

namespace copycat {
namespace {

constexpr int64_t kPixelsTogether = 768;

}  // namespace

void run_with(const WholeBlockKernels& loops, const WholeBlock& block, int threads) {
  const int64_t down = (block.height + kTileHeight - 1) / kTileHeight,
                across = (block.width + kTileWidth - 1) / kTileWidth, tiles = block.batch * down * across;
  if (tiles == 0) return;
  const Memory weights = allocate(loops.weights_bytes(block.channels));
  loops.arrange(block, weights.get());
  ScratchPool pool(static_cast<int>(threads < tiles ? threads : tiles), loops.scratch_bytes(block.channels));
  spread(tiles, 1, threads, [&](int64_t begin, int64_t end) {
    Memory scratch = pool.take();
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t row = tile / across;
      loops.compute(block, weights.get(), static_cast<int>(row / down),
                    static_cast<int>(row % down) * kTileHeight, static_cast<int>(tile % across) * kTileWidth,
                    scratch.get());
    }
    pool.give(std::move(scratch));
  });
}

void run_with(const AddEnlargedKernels& loops, const AddEnlarged& add, int threads) {
  const int64_t parts = (add.pixels() + kPixelsTogether - 1) / kPixelsTogether;
  if (parts == 0) return;
  const Memory weights = allocate(loops.weights_bytes(add));
  loops.arrange(add, weights.get());
  ScratchPool pool(static_cast<int>(threads < parts ? threads : parts), loops.scratch_bytes(add));
  spread(parts, 1, threads, [&](int64_t first, int64_t last) {
    Memory scratch = pool.take();
    for (int64_t part = first; part < last; ++part) {
      const int64_t end = (part + 1) * kPixelsTogether;
      loops.compute(add, weights.get(), part * kPixelsTogether, end < add.pixels() ? end : add.pixels(),
                    scratch.get());
    }
    pool.give(std::move(scratch));
  });
}

void run_on_cpu(const WholeBlock& operation, int threads) {
  run_with(vector_kernels(operation.dtype).whole_block, operation, threads);
}

void run_on_cpu(const AddEnlarged& operation, int threads) {
  run_with(vector_kernels(operation.dtype).add_enlarged, operation, threads);
}

}  // namespace copycat
