// Codes for a model's linear layers that are fitted to a text (quant/gptq.h), weight by weight as a conversion asks for them.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/model_files.h"
#include "data/token_dataset.h"
#include "model/decoder.h"
#include "quant/gptq.h"
#include "quant/input_grams.h"

namespace fathom {

struct Calibration {
  TokenDataset text;
  int64_t context = 512;   // tokens of a window at most
  int64_t tokens = 65536;  // of the text that are read; windows are taken evenly from all of it
  int64_t gram_bytes =
      0;  // memory for what is known of inputs; 0: a quarter of what is free. The result does not depend on it.
};
// Documents cut into windows; every eighth of those taken is held out. Error (usage) where the text has less than two windows.
CalibrationWindows plan_calibration(const Calibration& calibration);

struct CalibrationReport {
  int64_t weights = 0;                 // tensors whose codes were fitted
  int64_t rows = 0, nearest_rows = 0;  // of them; and those that the nearest codes serve better on held-out windows
  double log_error_ratio = 0;          // summed over `judged` weights
  int64_t judged = 0;                  // those with an error on held-out windows
  // Squared error of a weight's outputs on held-out windows, of that of the nearest codes: the geometric mean.
  double error_ratio() const;
};

class CalibratedRounding {
 public:
  // `from`, which outlives this: the model, whose forward in 16 bits (F32 where it is stored so) gives the inputs. `weights`:
  // published names in the order in which they will be asked for. The model is loaded when the first is. Error (usage) where an
  // id of the text is none of the model's.
  CalibratedRounding(const ModelFiles& from, const Calibration& calibration, std::vector<std::string> weights);
  ~CalibratedRounding();
  std::string identity() const;  // of what the codes depend on besides the model

  // The inputs of `weight`; where they are not at hand, those of it and of its followers are gathered from one reading of the
  // text, with a line of progress. False: a stop was requested.
  bool begin(const std::string& weight);
  // Codes [n, K] I8 of n of its rows w [n, K] F32: by row GPTQ's or the nearest ones, whichever has less error on held-out
  // windows.
  void round(const Tensor& w, std::span<const f16> scales, const IntLayout& layout, Tensor& codes);
  void end();  // all rows of the weight were rounded
  const CalibrationReport& report() const { return report_; }

 private:
  struct Source {  // where the inputs of a weight are: a Parameter's, or an expert's of a bank
    Parameter* owner = nullptr;
    int64_t expert = -1;
  };
  void load();
  bool gather(const std::string& weight);
  const GptqPlan& plan_of(const Source& source);

  const ModelFiles& from_;
  CalibrationWindows windows_;
  int64_t gram_bytes_;
  std::vector<std::string> weights_;
  std::optional<Decoder> model_;
  std::map<std::string, Source> sources_;
  std::map<const Parameter*, InputGram> grams_;
  struct Planned {
    const Parameter* owner;
    int64_t expert;
    std::unique_ptr<GptqPlan> plan;
  };
  std::deque<Planned> plans_;  // the last ones: q, k and v share theirs, gate and up
  const Source* current_ = nullptr;
  double error_ = 0, nearest_error_ = 0;  // of the current weight, on held-out windows
  CalibrationReport report_;
};

}  // namespace fathom
