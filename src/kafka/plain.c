/* For programs that are linked beside this crate and without it, such as benches/limit.rs: the
 * functions that src/kafka/gate.rs and src/kafka/zstd.rs stand before are then librdkafka's own. */

#include "rd.h"
#include "rdkafka_int.h"
#include "rdkafka_broker.h"
#include "rdkafka_buf.h"
#include "rdkafka_partition.h"
#include "rdkafka_msgset.h"

rd_kafka_resp_err_t __real_rd_kafka_msgset_parse(rd_kafka_buf_t *, rd_kafka_buf_t *, rd_kafka_toppar_t *,
                                                 rd_kafka_aborted_txns_t *, const struct rd_kafka_toppar_ver *);
rd_kafka_buf_t *__real_rd_kafka_buf_new_shadow(const void *, size_t, void (*)(void *));
rd_ts_t __real_rd_kafka_toppar_fetch_decide(rd_kafka_toppar_t *, rd_kafka_broker_t *, int);
rd_kafka_resp_err_t __real_rd_kafka_zstd_decompress(rd_kafka_broker_t *, char *, size_t, void **, size_t *);

rd_kafka_resp_err_t __wrap_rd_kafka_msgset_parse(rd_kafka_buf_t *rkbuf,
                                                 rd_kafka_buf_t *request,
                                                 rd_kafka_toppar_t *rktp,
                                                 rd_kafka_aborted_txns_t *aborted_txns,
                                                 const struct rd_kafka_toppar_ver *tver) {
        return __real_rd_kafka_msgset_parse(rkbuf, request, rktp, aborted_txns, tver);
}

rd_kafka_buf_t *__wrap_rd_kafka_buf_new_shadow(const void *ptr, size_t size, void (*free_cb)(void *)) {
        return __real_rd_kafka_buf_new_shadow(ptr, size, free_cb);
}

rd_ts_t __wrap_rd_kafka_toppar_fetch_decide(rd_kafka_toppar_t *rktp, rd_kafka_broker_t *rkb, int force_remove) {
        return __real_rd_kafka_toppar_fetch_decide(rktp, rkb, force_remove);
}

rd_kafka_resp_err_t __wrap_rd_kafka_zstd_decompress(rd_kafka_broker_t *rkb,
                                                    char *inbuf,
                                                    size_t inlen,
                                                    void **outbuf,
                                                    size_t *outlenp) {
        return __real_rd_kafka_zstd_decompress(rkb, inbuf, inlen, outbuf, outlenp);
}
