// Limits of the kernels. `_core` exports them, so Python repeats none.
#pragma once

namespace copycat {

inline constexpr int kMostChannels = 32;  // of a picture

// Inside a gated block, channels come in whole lanes.
inline constexpr int kLanes = 16;
inline constexpr int kWidestBlock = 1024;
inline constexpr int kWidestBlockOnGpu = 512;
inline constexpr double kNormEpsilon = 1e-6;  // added to a pixel's variance

}  // namespace copycat
