#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <map>

#include "base/files.h"
#include "base/rng.h"
#include "base/test_folder.h"
#include "data/line_reader.h"
#include "data/record.h"
#include "data/sequence_packer.h"

namespace fathom {
namespace {

std::string gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}
std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}
std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> out;
  LineReader reader(path);
  for (std::string_view line; reader.next(line);) out.emplace_back(line);
  return out;
}

TEST(LineReader, PlainGzipAndZstdGiveTheSame) {
  const TestFolder folder;
  Rng rng(1, RngStream::kTest);
  std::string text;
  std::vector<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    expected.emplace_back(rng.next_below(400), static_cast<char>('a' + rng.next_below(26)));
    text += expected.back() + (i % 3 ? "\n" : "\r\n");
  }
  expected.emplace_back("last without an end");
  text += expected.back();
  write_file_atomic(folder / "a", text);
  write_file_atomic(folder / "b", gzip(text.substr(0, 1000)) + gzip(text.substr(1000)));  // two members
  write_file_atomic(folder / "c", zstd(text.substr(0, 1000)) + zstd(text.substr(1000)));  // two frames
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(lines_of(folder / name), expected) << name;
    EXPECT_EQ(read_text(folder / name), text) << name;
  }
  write_file_atomic(folder / "d", gzip(text).substr(0, 5000));
  EXPECT_NE(error_of([&] { lines_of(folder / "d"); }).find("broken gzip: it ends in the middle"), std::string::npos);
  write_file_atomic(folder / "e", zstd(text).substr(0, 5000));
  EXPECT_NE(error_of([&] { lines_of(folder / "e"); }).find("broken zstd: it ends in the middle"), std::string::npos);
  std::string broken = gzip(text);
  broken[broken.size() / 2] ^= 0x55;
  write_file_atomic(folder / "f", broken);
  EXPECT_NE(error_of([&] { lines_of(folder / "f"); }).find("broken gzip"), std::string::npos);
}

TEST(LineReader, RefusalsNameFileAndLine) {
  const TestFolder folder;
  write_file_atomic(folder / "a.txt",
                    "good\nb\xFF"
                    "d\n");
  EXPECT_NE(error_of([&] { lines_of(folder / "a.txt"); }).find("a.txt:2: not UTF-8 at byte 2"), std::string::npos);
  EXPECT_NE(error_of([&] { read_text(folder / "a.txt"); }).find("a.txt:2: not UTF-8 at byte 2"), std::string::npos);
  write_file_atomic(folder / "b.txt", "x\n" + std::string(1 << 20, 'y') + "\n");
  EXPECT_NE(error_of([&] {
              LineReader reader(folder / "b.txt", 1000);
              for (std::string_view line; reader.next(line);) {
              }
            }).find("b.txt:2: the line is longer than 1000"),
            std::string::npos);
  EXPECT_NE(error_of([&] { lines_of(folder / "none"); }).find("No such file"), std::string::npos);
}

std::string record_error(const std::string& line) {
  const TestFolder folder;
  write_file_atomic(folder / "r.jsonl", "{\"text\": \"fine\"}\n\n" + line + "\n");
  return error_of([&] { read_records({folder / "r.jsonl"}, [](Record&&) {}); });
}

TEST(Records, FormsAndRefusals) {
  const TestFolder folder;
  write_file_atomic(folder / "r.jsonl.gz",
                    gzip("{\"text\": \"a\"}\n{\"prompt\": \"q\", \"completion\": \"<think>t</think>c\"}\n"
                         "{\"messages\": [{\"role\": \"user\", \"content\": \"u\"}, {\"role\": "
                         "\"assistant\", \"content\": \"v\", \"reasoning_content\": \"w\"}]}"));
  std::vector<Record> records;
  read_records({folder.path()}, [&](Record&& r) { records.push_back(std::move(r)); });
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].text, "a");
  EXPECT_EQ(records[1].messages[1].content, "<think>t</think>c");
  EXPECT_EQ(records[2].messages[1].reasoning, "w");
  EXPECT_NE(record_error("{\"text\": 3}").find("r.jsonl:3: \"text\" must be a string"), std::string::npos);
  EXPECT_NE(record_error("{\"text\": \"x\"").find("r.jsonl:3: no JSON"), std::string::npos);
  EXPECT_NE(record_error("{\"txt\": \"x\"}").find("only: txt"), std::string::npos);
  EXPECT_NE(record_error("[1]").find("an object is expected"), std::string::npos);
  EXPECT_NE(record_error("{\"messages\": [{\"role\": \"bot\", \"content\": \"\"}]}").find("'bot'"), std::string::npos);
  const TestFolder empty;
  write_file_atomic(empty / "e.jsonl", "\n \n");
  EXPECT_NE(error_of([&] { read_records({empty / "e.jsonl"}, [](Record&&) {}); }).find("data set is empty"), std::string::npos);
  write_file_atomic(empty / "e.jsonl", "");
  EXPECT_NE(error_of([&] { TokenDataset::from_files({empty / "e.jsonl"}, nullptr); }).find("data set is empty"),
            std::string::npos);
}

TEST(TokenDataset, BytesAndTheLastTenth) {
  const TestFolder folder;
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>('0' + i % 10);
  write_file_atomic(folder / "t.txt", text);
  const TokenDataset data = TokenDataset::from_files({folder / "t.txt"}, nullptr);
  EXPECT_EQ(data.num_tokens(), 1000);
  const auto [train, valid] = data.split(0.1);
  EXPECT_EQ(train.num_tokens(), 900);
  EXPECT_EQ(valid.num_tokens(), 100);
  EXPECT_EQ(valid.ids(0)[0], '0');
  EXPECT_NE(error_of([&] { data.split(0.9999); }).find("one side empty"), std::string::npos);
}

TEST(TokenDataset, ConversationsTrainTheAnswerOnly) {
  const TestFolder folder;
  TokenizerTraining config;
  config.special_tokens = deepseek_r1_control_tokens();
  config.bos_token = config.special_tokens[0];
  config.eos_token = config.special_tokens[1];
  config.chat_template = deepseek_r1_chat_template();
  const std::vector<std::string_view> texts = {"question answer question answer 1 2 3"};
  train_tokenizer(texts, config, folder / "tok");
  const Tokenizer tokenizer = Tokenizer::from_directory(folder / "tok");
  write_file_atomic(
      folder / "r.jsonl",
      "{\"text\": \"question\"}\n{\"prompt\": \"question</think>\", \"completion\": \"<think>1 2</think>answer\"}\n");
  const TokenDataset data = TokenDataset::from_files({folder / "r.jsonl"}, &tokenizer);
  ASSERT_EQ(data.num_documents(), 2);
  EXPECT_EQ(tokenizer.decode(data.ids(0)), "<｜begin▁of▁sentence｜>question<｜end▁of▁sentence｜>");
  std::string trained;
  for (size_t i = 0; i < data.ids(1).size(); ++i)
    if (data.is_trained(data.first_token(1) + static_cast<int64_t>(i))) trained += tokenizer.token_bytes(data.ids(1)[i]);
  EXPECT_EQ(trained, "1 2\n</think>\n\nanswer<｜end▁of▁sentence｜>");
  // The user's "</think>" is text.
  EXPECT_EQ(std::count(data.ids(1).begin(), data.ids(1).end(), tokenizer.id_of("</think>")), 1);
}

TokenDataset random_documents(int count, uint64_t longest, uint64_t seed) {
  Rng rng(seed, RngStream::kTest);
  TokenDataset data;
  for (int d = 0; d < count; ++d) {
    std::vector<int32_t> ids(1 + rng.next_below(longest));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = d * 1000 + static_cast<int32_t>(i);  // names document and position
    std::vector<uint8_t> trained(ids.size(), 1);
    for (size_t i = 0; i < ids.size() / 2; ++i) trained[i] = 0;
    data.add(ids, trained);
  }
  return data;
}

TEST(SequencePacker, SplitDocumentsGivesEveryTokenOnceAnEpoch) {
  const TokenDataset data = random_documents(57, 90, 2);
  SequencePacker packer(data, 32, Packing::kSplitDocuments, 7);
  std::map<int32_t, int> seen;
  int64_t targets = 0;
  const auto sequences = packer.rest_of_epoch();
  for (size_t k = 0; k < sequences.size(); ++k) {
    const PackedSequence& s = sequences[k];
    EXPECT_EQ(s.ids.size(), k + 1 < sequences.size() ? 32u : s.ids.size());
    EXPECT_EQ(s.begins.back(), static_cast<int64_t>(s.ids.size()));
    for (size_t b = 0; b + 1 < s.begins.size(); ++b)
      for (int64_t i = s.begins[b]; i < s.begins[b + 1]; ++i) {
        ++seen[s.ids[i]];
        if (i > s.begins[b]) {
          EXPECT_EQ(s.ids[i], s.ids[i - 1] + 1);
        }
        // The target is the next token of the document, also at the end of a sequence that cuts the document.
        if (s.targets[i] >= 0) {
          EXPECT_EQ(s.targets[i], s.ids[i] + 1);
        }
        targets += s.targets[i] >= 0;
      }
  }
  EXPECT_EQ(static_cast<int64_t>(seen.size()), data.num_tokens());
  for (const auto& [id, count] : seen) EXPECT_EQ(count, 1);
  int64_t expected = 0;
  for (int64_t d = 0; d < data.num_documents(); ++d)
    for (int64_t t = data.first_token(d) + 1; t < data.first_token(d + 1); ++t) expected += data.is_trained(t);
  EXPECT_EQ(targets, expected);
}

TEST(SequencePacker, WholeDocumentsAreNeverCutButAtTheLimit) {
  const TokenDataset data = random_documents(40, 45, 3);
  SequencePacker packer(data, 40, Packing::kWholeDocuments, 7);
  std::map<int32_t, int> documents;
  for (const PackedSequence& s : packer.rest_of_epoch()) {
    EXPECT_LE(s.ids.size(), 40u);
    for (size_t b = 0; b + 1 < s.begins.size(); ++b) {
      const int32_t document = s.ids[s.begins[b]] / 1000;
      EXPECT_EQ(s.ids[s.begins[b]] % 1000, 0);
      EXPECT_EQ(s.begins[b + 1] - s.begins[b], std::min<int64_t>(40, static_cast<int64_t>(data.ids(document).size())));
      EXPECT_EQ(s.targets[s.begins[b + 1] - 1], -1);
      ++documents[document];
    }
  }
  EXPECT_EQ(documents.size(), 40u);
  for (const auto& [document, count] : documents) EXPECT_EQ(count, 1);
}

TEST(SequencePacker, AcrossGivesWindowsOfTheStream) {
  TokenDataset data;
  std::vector<int32_t> ids(1000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  data.add(std::span(ids).first(300));
  data.add(std::span(ids).subspan(300));
  SequencePacker packer(data, 64, Packing::kAcross, 9);
  for (int epoch = 0; epoch < 5; ++epoch) {
    std::vector<int> seen(1000);
    const auto sequences = packer.rest_of_epoch();
    EXPECT_GE(sequences.size(), 14u);
    for (const PackedSequence& s : sequences) {
      ASSERT_EQ(s.ids.size(), 64u);
      EXPECT_EQ(s.begins, (std::vector<int64_t>{0, 64}));
      EXPECT_EQ(s.num_trained, 64);
      for (size_t i = 0; i < 64; ++i) {
        EXPECT_EQ(s.targets[i], s.ids[i] + 1);
        ++seen[s.ids[i]];
      }
    }
    for (const int count : seen) EXPECT_LE(count, 1);
    packer.seek({epoch + 1, 0, 0});
  }
  // Unshuffled, for validation: from the first token on.
  SequencePacker plain(data, 64, Packing::kAcross, 9, false);
  EXPECT_EQ(plain.next().ids[0], 0);
  EXPECT_EQ(plain.next().ids[0], 64);
  EXPECT_NE(error_of([&] { SequencePacker(data, 1000, Packing::kAcross, 1); }).find("1000 tokens"), std::string::npos);
}

TEST(SequencePacker, ACursorResumesExactly) {
  const TokenDataset data = random_documents(30, 70, 4);
  for (const Packing packing : {Packing::kSplitDocuments, Packing::kWholeDocuments, Packing::kAcross}) {
    SequencePacker whole(data, 50, packing, 11);
    std::vector<DataCursor> cursors;
    std::vector<PackedSequence> sequences;
    for (int i = 0; i < 200; ++i) {
      cursors.push_back(whole.cursor());
      sequences.push_back(whole.next());
    }
    EXPECT_GT(whole.cursor().epoch, 3);
    for (int i = 0; i < 200; i += 7) {
      SequencePacker resumed(data, 50, packing, 11);
      resumed.seek(cursors[i]);
      for (int j = i; j < std::min(i + 5, 200); ++j) {
        const PackedSequence s = resumed.next();
        EXPECT_EQ(s.ids, sequences[j].ids);
        EXPECT_EQ(s.targets, sequences[j].targets);
        EXPECT_EQ(s.begins, sequences[j].begins);
      }
    }
    SequencePacker other(data, 50, packing, 12);
    EXPECT_NE(other.next().ids, sequences[0].ids);
    EXPECT_NE(error_of([&] { other.seek({0, 1000, 0}); }).find("does not belong"), std::string::npos);
    EXPECT_NE(error_of([&] { other.seek({0, 0, 100}); }).find("does not belong"), std::string::npos);
  }
}

}  // namespace
}  // namespace fathom
