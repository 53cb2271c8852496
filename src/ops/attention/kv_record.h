// A row of the key/value store as a quantised cache keeps it: keys and values of each kv head in groups of at most 128, one
// f32 scale a group and token, so that a row's bytes depend on that row alone; what is shared by all heads (MLA's k_pe) stays
// in the compute type. For DeepSeek's latents with FP8: 512 E4M3 + 4 scales + 64 bf16 = 656 bytes (architecture.md §1.3).
//   record = codes of [key | value] a kv head, each padded to 16 | their scales | shared, padded to 16
//   int8: code = nearest even of x / scale, scale = max|x| / 127;  FP8: E4M3 of x / scale, scale = max|x| / 448
// The value given back is code * scale in f32, rounded once to the compute type. A group with a NaN or an infinity gives NaN.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace fathom {

struct AttentionLayout;
class Tensor;
enum class DType : uint8_t;

enum class KvType : uint8_t { kPlain, kInt8, kFp8 };  // kPlain: the compute type
std::string_view kv_type_name(KvType type);           // "plain", "int8", "fp8"
std::optional<KvType> kv_type_from_name(std::string_view name);

constexpr int64_t kKvGroup = 128;

// Bytes from row to row of a cache: of the layout's record, or of a plain row of `dtype`.
int64_t kv_row_bytes(const AttentionLayout& layout, DType dtype);

// Records of rows [0, T) of kv [T, row_width] F32 or BF16: row t goes to rows[t], kv_row_bytes long. In parallel.
void write_kv_records(const AttentionLayout& layout, const Tensor& kv, std::byte* const* rows);
// The oracle of the above, and what attention computes with: records one after the other -> kv [T, row_width]. One thread.
void write_kv_records_ref(const AttentionLayout& layout, const Tensor& kv, std::byte* records);
void read_kv_records_ref(const AttentionLayout& layout, const std::byte* records, Tensor& kv);

}  // namespace fathom
