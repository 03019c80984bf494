/* Users and permissions: kept, found, gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/put.h"
#include "world.h"

static struct world w;

static int setup(void **state) {
    world_init(&w, NULL);
    return 0;
}

static int teardown(void **state) {
    model_check(w.model);
    world_reload(&w);
    world_check_replay(&w);
    world_release(&w);
    return 0;
}

static enum refusal define_user(const char *name, const char *hash) {
    struct request r;
    request_init(&r, REQUEST_USER_DEFINE);
    r.in.user = (struct user_def){
        .name = span_text(name), .hash = span_text(hash), .tags = span_text("monitoring")};
    enum refusal refusal = world_ask(&w, &r);
    request_release(&r);
    return refusal;
}

static enum refusal permit(enum request_kind kind, const char *user, const char *vhost) {
    struct request r;
    request_init(&r, kind);
    r.in.user.name = span_text(user);
    if (kind != REQUEST_USER_DELETE) {
        r.in.permission = (struct permission_def){.user = span_text(user),
                                                  .vhost = span_text(vhost),
                                                  .configure = span_text("^a"),
                                                  .write = span_text(".*"),
                                                  .read = span_text("")};
    }
    enum refusal refusal = world_ask(&w, &r);
    request_release(&r);
    return refusal;
}

/* Items of ACCESS_GET: the user, and a permission if there is one. -1: no such user. */
static int access_items(const char *user, const char *vhost, uint32_t *ret_generation) {
    struct request r;
    request_init(&r, REQUEST_ACCESS_GET);
    r.in.permission.user = span_text(user);
    r.in.permission.vhost = span_text(vhost);
    int count = world_ask(&w, &r) == REFUSAL_NONE ? (int)r.count : -1;
    *ret_generation = r.generation;
    if (count > 0) {
        struct reader in;
        reader_init(&in, buffer_span(&r.out_bytes));
        struct reader item;
        reader_init(&item, reader_bytes(&in));
        assert_true(span_is(reader_key(&item), user));
        assert_true(reader_bytes(&item).size > 0);
        assert_true(span_is(reader_bytes(&item), "monitoring"));
    }
    request_release(&r);
    return count;
}

static void test_life(void **state) {
    uint32_t first, later;
    assert_int_equal(access_items("guest", "/", &first), -1);
    assert_int_equal(define_user("guest", "hash"), REFUSAL_NONE);
    assert_int_equal(define_user("", "hash"), REFUSAL_INVALID);
    assert_int_equal(access_items("guest", "/", &later), 1);
    assert_true(later != first);
    assert_int_equal(permit(REQUEST_PERMISSION_DEFINE, "nobody", "/"), REFUSAL_REFERENCE);
    assert_int_equal(permit(REQUEST_PERMISSION_DEFINE, "guest", "nowhere"), REFUSAL_REFERENCE);
    assert_int_equal(permit(REQUEST_PERMISSION_DEFINE, "guest", "/"), REFUSAL_NONE);
    assert_int_equal(access_items("guest", "/", &later), 2);
    world_reload(&w);
    assert_int_equal(access_items("guest", "/", &later), 2);
    assert_int_equal(permit(REQUEST_PERMISSION_DELETE, "guest", "/"), REFUSAL_NONE);
    assert_int_equal(permit(REQUEST_PERMISSION_DELETE, "guest", "/"), REFUSAL_NOT_FOUND);
    assert_int_equal(access_items("guest", "/", &later), 1);
}

/* U2, and only this user's: "a" is the beginning of "ab". */
static void test_permissions_go_with_their_user(void **state) {
    uint32_t generation;
    static const char *const names[] = {"ab", "a", "b"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(define_user(names[i], "hash"), REFUSAL_NONE);
        assert_int_equal(permit(REQUEST_PERMISSION_DEFINE, names[i], "/"), REFUSAL_NONE);
    }
    assert_int_equal(permit(REQUEST_USER_DELETE, "a", ""), REFUSAL_NONE);
    assert_int_equal(access_items("a", "/", &generation), -1);
    assert_int_equal(access_items("ab", "/", &generation), 2);
    assert_int_equal(access_items("b", "/", &generation), 2);
    assert_int_equal(define_user("a", "hash"), REFUSAL_NONE);
    assert_int_equal(access_items("a", "/", &generation), 1);
    struct request r;
    request_init(&r, REQUEST_USER_LIST);
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    assert_int_equal(r.count, 3);
    request_release(&r);
}

static enum refusal renew(const char *before, const char *after) {
    struct request r;
    request_init(&r, REQUEST_USER_DEFINE);
    r.in.user = (struct user_def){.name = span_text("ann"),
                                  .hash = span_text(after),
                                  .tags = span_text("old"),
                                  .renews = span_text(before)};
    enum refusal refusal = world_ask(&w, &r);
    request_release(&r);
    return refusal;
}

static bool ann_has(const char *text) {
    struct request r;
    request_init(&r, REQUEST_USER_LIST);
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    bool found = r.out_bytes.size > 0 &&
                 memmem(r.out_bytes.data, r.out_bytes.size, text, strlen(text)) != NULL;
    request_release(&r);
    return found;
}

/* A login finds a better hash for the password that it saw: who changed or deleted it meanwhile has the last word. */
static void test_a_renewed_hash_undoes_nothing(void **state) {
    assert_int_equal(define_user("ann", "first"), REFUSAL_NONE);
    assert_int_equal(renew("first", "better"), REFUSAL_NONE);
    assert_true(ann_has("better") && ann_has("monitoring") && !ann_has("old"));
    assert_int_equal(define_user("ann", "second"), REFUSAL_NONE);
    assert_int_equal(renew("better", "late"), REFUSAL_STALE);
    assert_true(ann_has("second") && !ann_has("late"));
    assert_int_equal(permit(REQUEST_USER_DELETE, "ann", NULL), REFUSAL_NONE);
    assert_int_equal(renew("second", "late"), REFUSAL_STALE);
    assert_false(ann_has("ann"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_renewed_hash_undoes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_permissions_go_with_their_user, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
