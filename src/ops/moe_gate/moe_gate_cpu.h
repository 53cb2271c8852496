#pragma once
#include "backend/cpu/isa.h"

// s = sigmoid(logits), or softmax(logits) where `softmax`; n experts.
FATHOM_DECLARE_RUNGS3(void gate_scores(const float* logits, int64_t n, bool softmax, float* s))
// ids[0..k): the indices, ascending, of the k largest of x[0..n); ties go to the lower index.
// NaN and -infinity count as the lowest finite number. `room`: n rounded up to 16 floats.
FATHOM_DECLARE_RUNGS3(void take_largest(const float* x, int64_t n, int64_t k, float* room, int32_t* ids))
// choice = lowest in groups that are not among kept[0..count).
FATHOM_DECLARE_RUNGS3(void mask_groups(const int32_t* kept, int64_t count, int64_t groups, int64_t size, float* choice))
// scores[g] = sum of the two largest of x[g size, (g+1) size), or the largest alone where not `two`.
FATHOM_DECLARE_RUNGS3(void group_scores(const float* x, int64_t groups, int64_t size, bool two, float* scores))
// choice = s + bias (bias may be null).
FATHOM_DECLARE_RUNGS3(void add_bias(const float* s, const float* bias, int64_t n, float* choice))
// Sums in one fixed order over 16 lanes.
FATHOM_DECLARE_RUNGS3(float gate_sum(const float* x, int64_t n))
FATHOM_DECLARE_RUNGS3(float gate_dot(const float* x, const float* y, int64_t n))
// d[i] += scale s_i' (a[i] - dot) (1 - s[i] where sigmoid), s' = s / total: the gradient of sum_i a_i s'_i times `scale`.
FATHOM_DECLARE_RUNGS3(void add_share_gradient(const float* s, const float* a, int64_t n, bool softmax, float total, float dot,
                                              float scale, float* d))
// d[i] = s[i] (ds[i] - dot): through softmax.
FATHOM_DECLARE_RUNGS3(void softmax_gradient(const float* s, const float* ds, int64_t n, float dot, float* d))
