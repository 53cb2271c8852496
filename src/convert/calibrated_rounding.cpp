#include "convert/calibrated_rounding.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/machine.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "checkpoint/hf_directory.h"

namespace fathom {
namespace {

constexpr int64_t kHeldOut = 8;   // one window of so many judges
constexpr size_t kPlansKept = 2;  // in a directory's order a layer's weights of one input have at most one other between them

// Two banks of one layer: files name their parts in turns, expert by expert.
bool same_experts(const Parameter& a, const Parameter& b) {
  const auto layer = [](const Parameter& p) { return p.name.substr(0, p.name.find(".experts.")); };
  return a.shape.rank() == 3 && b.shape.rank() == 3 && layer(a) == layer(b);
}

Tensor of_expert(const Tensor& gram, int64_t expert) { return expert < 0 ? gram : gram.index(expert); }

}  // namespace

CalibrationWindows plan_calibration(const Calibration& calibration) {
  std::vector<std::span<const int32_t>> all;
  for (int64_t d = 0; d < calibration.text.num_documents(); ++d) {
    const auto ids = calibration.text.ids(d);
    for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(calibration.context))
      all.push_back(ids.subspan(begin, std::min(ids.size() - begin, static_cast<size_t>(calibration.context))));
  }
  const auto total = static_cast<double>(calibration.text.num_tokens());
  const double share = std::min(1.0, static_cast<double>(calibration.tokens) / std::max(1.0, total));
  CalibrationWindows windows;
  int64_t taken = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    // The i-th is taken where another whole window's worth is due.
    if (std::floor(static_cast<double>(i + 1) * share + 1e-9) <= std::floor(static_cast<double>(i) * share + 1e-9)) continue;
    (taken++ % kHeldOut == 1 ? windows.held_out : windows.fitted).emplace_back(all[i].begin(), all[i].end());
  }
  if (windows.held_out.empty())
    fail_usage("quantize", "the calibration text makes " + std::to_string(taken) + " windows of " +
                               std::to_string(calibration.context) + " tokens; at least 2 are needed, and 128 are usual");
  return windows;
}

double CalibrationReport::error_ratio() const {
  return judged > 0 ? std::exp(log_error_ratio / static_cast<double>(judged)) : 1;
}

CalibratedRounding::CalibratedRounding(const ModelFiles& from, const Calibration& calibration, std::vector<std::string> weights)
    : from_(from), windows_(plan_calibration(calibration)), gram_bytes_(calibration.gram_bytes), weights_(std::move(weights)) {
  const int64_t vocab = from_.config().vocab_size;
  for (const int32_t id : calibration.text.all_ids())
    if (id < 0 || id >= vocab)
      fail_usage("quantize", "the calibration text has the token id " + std::to_string(id) + ", the model's end at " +
                                 std::to_string(vocab - 1) + "; was it encoded for another model?");
}
CalibratedRounding::~CalibratedRounding() = default;

std::string CalibratedRounding::identity() const {
  Sha256 sum;
  for (const auto* windows : {&windows_.fitted, &windows_.held_out})
    for (const auto& window : *windows) {
      const uint64_t size = window.size();
      sum.add(&size, 1).add(window.data(), window.size());
    }
  return "gptq " + hex(sum.digest());
}

void CalibratedRounding::load() {
  Numerics numerics;
  numerics.compute = from_.config().torch_dtype == "float32" ? Compute::kF32 : Compute::kBF16;
  model_.emplace(load_model(from_, numerics, /*training=*/false));
  std::map<const Parameter*, Parameter*> parameters;
  for (Parameter* p : model_->parameters()) parameters[p] = p;
  const auto tensors = model_->named_tensors();
  std::map<const Parameter*, int64_t> parts;
  for (const NamedTensor& t : tensors)
    if (t.owner) ++parts[t.owner];
  for (const NamedTensor& t : tensors) {
    if (!t.owner) continue;
    Source& source = sources_[t.name];
    source.owner = parameters.at(t.owner);
    if (t.owner->shape.rank() == 3) source.expert = t.part / (parts[t.owner] / t.owner->shape[0]);
  }
  if (gram_bytes_ == 0) gram_bytes_ = memory_available_bytes() / 4;
}

bool CalibratedRounding::gather(const std::string& weight) {
  plans_.clear();
  grams_.clear();
  std::vector<Parameter*> owners;
  int64_t bytes = 0;
  for (auto at = std::find(weights_.begin(), weights_.end(), weight); at != weights_.end(); ++at) {
    const auto source = sources_.find(*at);
    if (source == sources_.end()) continue;
    Parameter* owner = source->second.owner;
    if (std::find(owners.begin(), owners.end(), owner) != owners.end()) continue;
    bytes += input_gram_bytes(*owner);
    if (!owners.empty() && bytes > gram_bytes_ && !same_experts(*owner, *owners.back())) break;
    owners.push_back(owner);
  }
  Progress progress("calibrate", windows_.num_tokens(), "tokens");
  auto grams = gather_input_grams(
      *model_, owners, windows_, [&](int64_t done) { progress.update(done, "inputs from " + printable(weight)); },
      [] { return stop_requested(); });
  progress.finish();
  if (grams.size() < owners.size()) return false;
  for (size_t i = 0; i < owners.size(); ++i) grams_[owners[i]] = std::move(grams[i]);
  return true;
}

bool CalibratedRounding::begin(const std::string& weight) {
  if (!model_) load();
  const auto found = sources_.find(weight);
  if (found == sources_.end())
    fail_usage("quantize", "no forward reads '" + printable(weight) +
                               "': it cannot be fitted to a text; choose a scheme without calibration");
  if (grams_.find(found->second.owner) == grams_.end() && !gather(weight)) return false;
  current_ = &found->second;
  error_ = nearest_error_ = 0;
  return true;
}

const GptqPlan& CalibratedRounding::plan_of(const Source& source) {
  for (const Planned& p : plans_)
    if (p.owner == source.owner && p.expert == source.expert) return *p.plan;
  if (plans_.size() == kPlansKept) plans_.pop_front();
  const Tensor gram = of_expert(grams_.at(source.owner).fitted, source.expert);
  plans_.push_back({source.owner, source.expert, std::make_unique<GptqPlan>(gram)});
  return *plans_.back().plan;
}

void CalibratedRounding::round(const Tensor& w, std::span<const f16> scales, const IntLayout& layout, Tensor& codes) {
  CHECK(current_ != nullptr);
  const Tensor held_out = of_expert(grams_.at(current_->owner).held_out, current_->expert);
  gptq_round(plan_of(*current_), w, scales, layout, codes);
  Tensor nearest = Tensor::empty(w.shape(), DType::kI8);
  nearest_round(w, scales, layout, nearest);
  const std::vector<double> errors = output_errors(w, codes, scales, layout, held_out),
                            nearest_errors = output_errors(w, nearest, scales, layout, held_out);
  for (int64_t r = 0; r < w.rows(); ++r) {
    const double error = errors[static_cast<size_t>(r)], other = nearest_errors[static_cast<size_t>(r)];
    if (error >= other) {
      std::copy_n(nearest.row<int8_t>(r), w.dim(1), codes.row<int8_t>(r));
      ++report_.nearest_rows;
    }
    error_ += std::min(error, other);
    nearest_error_ += other;
  }
  report_.rows += w.rows();
}

void CalibratedRounding::end() {
  ++report_.weights;
  current_ = nullptr;
  if (!(nearest_error_ > 0 && error_ > 0)) return;
  report_.log_error_ratio += std::log(error_ / nearest_error_);
  ++report_.judged;
}

}  // namespace fathom
