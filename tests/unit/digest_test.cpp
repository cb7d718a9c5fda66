#include "trlm/adapt/digest.hpp"

#include "plain_sha256.hpp"
#include "support/catch.hpp"

using namespace trlm::adapt;

// Values from FIPS 180-4's examples.
TEST_CASE("SHA-256 gives the standard's values", "[digest]") {
    CHECK(to_string(sha256({})) ==
          "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(to_string(sha256(as_bytes("abc"))) ==
          "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(to_string(sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))) ==
          "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("SHA-256 in pieces, over a million bytes", "[digest]") {
    const std::string piece(1000, 'a');
    Sha256 hasher;
    for (int i = 0; i < 500; ++i)
        hasher.update(as_bytes(piece));
    hasher.update({});
    Sha256 moved = std::move(hasher);
    for (int i = 0; i < 500; ++i)
        moved.update(as_bytes(piece));
    CHECK(to_string(moved.finish()) ==
          "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("Digests as text", "[digest]") {
    const Digest digest = sha256(as_bytes("abc"));
    CHECK(parse_digest(to_string(digest)) == digest);
    const std::string hex(64, '0');
    CHECK(parse_digest("sha256:" + hex) == Digest{});
    for (const std::string& text :
         {std::string(), std::string("sha256:"), hex, "sha256:" + hex + "0",
          "sha256:" + hex.substr(1), "SHA256:" + hex, "sha256:" + hex.substr(1) + "A",
          "sha256:" + hex.substr(1) + "g", "xxh3-128:" + hex}) {
        CAPTURE(text);
        CHECK_FALSE(parse_digest(text).has_value());
    }
}

// The examples of FIPS 180-4 and of NIST's test files for it.
TEST_CASE("SHA-256 in plain C++ gives the standard's values", "[digest]") {
    const auto plain = [](Bytes bytes) {
        PlainSha256 hasher;
        hasher.update(bytes);
        return to_string(hasher.finish());
    };
    CHECK(plain({}) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(plain(as_bytes("abc")) ==
          "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(plain(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
          "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(plain(as_bytes("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnop"
                         "jklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu")) ==
          "sha256:cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    CHECK(plain(as_bytes(std::string(1'000'000, 'a'))) ==
          "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 in plain C++ is OpenSSL's for every length and in any pieces", "[digest]") {
    std::string text;
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < 1000; ++i) {
        state = state * 1664525 + 1013904223;
        text += static_cast<char>(state >> 24);
    }
    for (std::size_t length = 0; length < 300; ++length) {
        CAPTURE(length);
        const Bytes bytes = as_bytes(text).first(length);
        PlainSha256 whole;
        whole.update(bytes);
        CHECK(whole.finish() == sha256(bytes));
    }
    for (const std::size_t piece : std::initializer_list<std::size_t>{1, 3, 55, 63, 64, 65, 130}) {
        CAPTURE(piece);
        PlainSha256 hasher;
        const Bytes bytes = as_bytes(text);
        for (std::size_t at = 0; at < bytes.size(); at += piece)
            hasher.update(bytes.subspan(at, std::min(piece, bytes.size() - at)));
        CHECK(hasher.finish() == sha256(bytes));
    }
}
