// What the attention kernels are given: plain pointers and widths. Compiled once a rung (attention_*_cpu.cpp).
//
// A tile works on lanes: lane = query * group + head for the query heads of one kv head, so that grouped and absorbed
// layouts are matrix products over heads too. Scores stand as [key][lane], so softmax never crosses lanes.
#pragma once
#include <cstdint>

#include "backend/cpu/isa.h"
#include "ops/attention/kv_record_cpu.h"

namespace fathom {

constexpr int kTileLanes = 48;       // three vectors: 8 keys x 3 vectors of sums fill 24 of 32 registers
constexpr int kForwardTiles = 4;     // tiles that share one block of widened keys and values
constexpr int64_t kSuperBlocks = 8;  // blocks a super-block: each is summed from fresh, then merged in order (fixed splits)

// One kv head's part of the layout.
struct AttentionHead {
  int64_t key_width, key_offset, shared_width, shared_offset, value_width, value_offset, row_width;
  int64_t group;  // query heads
  float scale;
  RecordHead record;  // of a quantised store; the offsets above then are not used
};

// A query of a tile that sums one super-block for several sequences: its first head, and where the states of its heads go.
struct JoinedQuery {
  const void* q;
  float *o, *m, *l;  // [group][padded value width], [group], [group]
};

struct ForwardTile {
  AttentionHead head;
  const void* q;                             // query 0 of the sequence, first head of the group
  void* out;                                 // the same place of the output
  float* lse;                                // or null
  int64_t q_stride, out_stride, lse_stride;  // elements from query to query
  const void* const* blocks;
  int64_t first_position;         // of query 0; of all queries where joined
  int64_t first_lane, num_lanes;  // at most kForwardTiles * kTileLanes
  int64_t super_begin, super_end;
  const JoinedQuery* joined;  // [num_lanes / group], or null: the queries are q's rows
};

// Floats of a state (sums, maxima, totals) and of the scratch that a tile needs.
inline int64_t padded_width(int64_t width) { return (width + 15) / 16 * 16; }
inline int64_t forward_state_floats(const AttentionHead& h, int64_t lanes) { return lanes * (padded_width(h.value_width) + 2); }
inline int64_t forward_scratch_floats(const AttentionHead& h) {
  const int64_t lanes = kForwardTiles * kTileLanes, key = padded_width(h.key_width + h.shared_width) + 2,
                value = padded_width(h.value_width) + 16;
  const int64_t opened = h.record.type == KvType::kPlain ? 0 : 64 * (key + value) + 16;
  return opened + 64 * (key + value) + lanes * key + 2 * 64 * kTileLanes + 2 * lanes * (value + 2) + kTileLanes * 8 + 1024;
}

// forward_tile: super-blocks [super_begin, super_end) in order. With `partial` (then super_end = super_begin + 1) the
// state is left there; else the output is written. merge_tile: the same merge from states that lie one after the other.
using ForwardFn = void (*)(const ForwardTile& tile, float* scratch, float* partial);
using MergeFn = void (*)(const ForwardTile& tile, float* states);

// Backward of one kv head over the keys [key_begin, key_end) of one sequence: their gradients are whole; those of the
// queries go on from the earlier keys' (in `dq_sum`), so pieces of one head are taken in rising order, tile by tile.
constexpr int64_t kBackwardKeys = 256;
struct BackwardPiece {
  AttentionHead head;
  const void *q, *out, *dout, *kv;  // query 0, first head of the group; row 0 of the sequence
  const float* lse;
  int64_t q_stride, out_stride, dout_stride, kv_stride, lse_stride;
  int64_t num_queries, key_begin, key_end;
  void *dq, *dkv;
  int64_t dq_stride, dkv_stride;
  float* dq_sum;       // [num_queries * group][padded width]
  float* dshared;      // [num_queries][shared_width] of this kv head, or null: straight into dkv
  const int* earlier;  // tiles that the piece before has done, or null
  int* done;           // tiles that this one has done
};
inline int64_t backward_stride(int64_t width) {  // rows must not all fall into the same few cache sets
  const int64_t padded = padded_width(width);
  return padded % 256 == 0 ? padded + 16 : padded;
}
inline int64_t backward_scratch_floats(const AttentionHead& h) {
  const int64_t widths = backward_stride(h.key_width + h.shared_width) + backward_stride(h.value_width);
  const int64_t rounded = 3 * 32 * kTileLanes + kBackwardKeys + 64;  // P, dS and dS by keys; words of odd widths
  return 2 * kBackwardKeys * widths + 3 * kTileLanes * widths + 2 * 64 * kTileLanes + rounded + 4 * kTileLanes + 1024;
}
using BackwardFn = void (*)(const BackwardPiece& piece, float* scratch);

}  // namespace fathom

FATHOM_DECLARE_RUNGS3(void forward_tile_f32(const ForwardTile& tile, float* scratch, float* partial);
                      void merge_tile_f32(const ForwardTile& tile, float* states);
                      void backward_piece_f32(const BackwardPiece& piece, float* scratch))
FATHOM_DECLARE_RUNGS4(void forward_tile_bf16(const ForwardTile& tile, float* scratch, float* partial);
                      void merge_tile_bf16(const ForwardTile& tile, float* states);
                      void backward_piece_bf16(const BackwardPiece& piece, float* scratch))

// The avx512bf16 rung's form on emulated pair products: its oracle, on every machine.
namespace fathom::portable {
void forward_tile_dot(const ForwardTile& tile, float* scratch, float* partial);
void backward_piece_dot(const BackwardPiece& piece, float* scratch);
}  // namespace fathom::portable
