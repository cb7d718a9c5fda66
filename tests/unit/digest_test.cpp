#include "trlm/adapt/digest.hpp"

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
