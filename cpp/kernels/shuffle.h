// COPYCAT_SHUFFLE(a, b, indices...): numbers of two vectors of one type in a new order. Compilers agree on
// vector types, but not on the name of this.
#pragma once

#if defined(__clang__) || __GNUC__ >= 12
#define COPYCAT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define COPYCAT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, decltype((a) == (b)){__VA_ARGS__})
#endif
