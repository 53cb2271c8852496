#include "text/token_decoder.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/byte_map.h"
#include "text/unicode.h"

namespace fathom {

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

TokenDecoder::TokenDecoder(const std::vector<DecoderStep>& steps) {
  for (const DecoderStep& step : steps) {
    steps_.push_back({step, {}});
    if (step.kind == DecoderStep::kReplace)
      steps_.back().pattern.push_back(step.regex ? Regex(step.pattern) : Regex::literal(step.pattern));
  }
}

// The steps that look at one token alone.
std::string TokenDecoder::one(const Step& step, const std::string& token, bool first) const {
  const std::string& content = step.what.content;
  switch (step.what.kind) {
    case DecoderStep::kReplace: {
      Regex::Match match(step.pattern.front());
      return step.pattern.front().replaced(token, content, match);
    }
    case DecoderStep::kStrip: {
      size_t begin = 0, end = token.size();
      const std::string_view text = token;
      for (int64_t i = 0; i < step.what.start && text.substr(begin).starts_with(content); ++i) begin += content.size();
      for (int64_t i = 0; i < step.what.stop && end >= begin + content.size() && text.substr(0, end).ends_with(content); ++i)
        end -= content.size();
      return token.substr(begin, end - begin);
    }
    case DecoderStep::kMetaspace: {
      std::string out;
      for (size_t at = 0; at < token.size();) {
        if (std::string_view(token).substr(at).starts_with(content)) {
          if (!(first && step.what.prefixed)) out += ' ';
          at += content.size();
        } else {
          out += token[at++];
        }
      }
      return out;
    }
    case DecoderStep::kByteLevel:
    case DecoderStep::kByteFallback:
    case DecoderStep::kFuse:
      break;
  }
  return token;
}

std::string TokenDecoder::decode(std::vector<std::string> tokens) const {
  const auto joined = [](const std::vector<std::string>& parts) {
    std::string out;
    for (const std::string& part : parts) out += part;
    return out;
  };
  for (const Step& step : steps_) {
    switch (step.what.kind) {
      case DecoderStep::kFuse:
        tokens = {joined(tokens)};
        break;
      case DecoderStep::kByteLevel: {
        std::string bytes;
        for (const std::string& token : tokens) bytes += characters_to_bytes(token).value_or(token);
        tokens = {first_invalid_utf8(bytes) >= 0 ? replace_invalid_utf8(bytes) : bytes};
        break;
      }
      case DecoderStep::kByteFallback: {
        std::vector<std::string> out;
        std::string run;
        const auto flush = [&] {
          if (run.empty()) return;
          if (first_invalid_utf8(run) < 0)
            out.push_back(run);
          else
            out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
          run.clear();
        };
        for (std::string& token : tokens) {
          if (const int byte = byte_of_token(token); byte >= 0) {
            run += static_cast<char>(byte);
            continue;
          }
          flush();
          out.push_back(std::move(token));
        }
        flush();
        tokens = std::move(out);
        break;
      }
      case DecoderStep::kReplace:
      case DecoderStep::kStrip:
      case DecoderStep::kMetaspace:
        for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = one(step, tokens[i], i == 0);
    }
  }
  return joined(tokens);
}

std::string TokenDecoder::token_bytes(const std::string& token) const {
  std::string text = token;
  bool fused = false;  // what follows sees whole texts: what it takes off their begin and end is no matter of this token
  for (const Step& step : steps_) {
    fused |= step.what.kind == DecoderStep::kFuse;
    if (fused && (step.what.kind == DecoderStep::kStrip || step.what.kind == DecoderStep::kByteFallback)) continue;
    if (step.what.kind == DecoderStep::kByteLevel) return characters_to_bytes(text).value_or(text);
    if (step.what.kind == DecoderStep::kByteFallback) {
      if (const int byte = byte_of_token(text); byte >= 0) return std::string(1, static_cast<char>(byte));
      continue;
    }
    text = one(step, text, false);
  }
  return text;
}

}  // namespace fathom
