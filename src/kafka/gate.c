/* What src/kafka/gate.rs needs of the inside of librdkafka's structures. It is built with the
 * headers of the librdkafka that is linked, so that no place in them is known by a number.
 *
 * Nothing here decides: each function reads or writes what its name says. */

#include "rd.h"
#include "rdkafka_int.h"
#include "rdkafka_broker.h"
#include "rdkafka_buf.h"
#include "rdkafka_op.h"
#include "rdkafka_partition.h"
#include "rdkafka_topic.h"

/* A partition's part of a fetch answer. */
struct weir_set {
        rd_kafka_t *client;
        /* From the read position on. */
        const char *bytes;
        size_t length;
        /* Where the set ends in the answer, for weir_narrow. */
        size_t end;
        /* Where the set begins in the answer. */
        size_t begin;
        /* The memory that the answer is in, and how large it is. */
        void *memory;
        size_t memory_size;
};

/* Says what is to be parsed; 0 where that is not one piece of memory. */
int weir_set(rd_kafka_buf_t *rkbuf, rd_kafka_toppar_t *rktp, struct weir_set *set) {
        rd_slice_t *reader      = &rkbuf->rkbuf_reader;
        const rd_segment_t *seg = reader->seg;
        size_t begin            = rd_slice_abs_offset(reader);

        set->client = rktp->rktp_rkt->rkt_rk;
        if (!seg || reader->rof > seg->seg_of || reader->end < begin ||
            reader->end - begin > seg->seg_of - reader->rof)
                return 0;
        set->bytes       = seg->seg_p + reader->rof;
        set->length      = reader->end - begin;
        set->begin       = begin;
        set->end         = reader->end;
        set->memory      = seg->seg_p;
        set->memory_size = seg->seg_size;
        return 1;
}

/* Where the reader is in the answer. */
size_t weir_position(const rd_kafka_buf_t *rkbuf) {
        return rd_slice_abs_offset(&rkbuf->rkbuf_reader);
}

/* The reader ends there: at or after its position, and not after the set's end. */
void weir_narrow(rd_kafka_buf_t *rkbuf, size_t end) {
        rkbuf->rkbuf_reader.end = end;
}

/* The reader passes over what is left of the set. */
void weir_skip(rd_kafka_buf_t *rkbuf) {
        rd_slice_read(&rkbuf->rkbuf_reader, NULL, rd_slice_remains(&rkbuf->rkbuf_reader));
}

/* Has the memory that the answer is in freed by another function; gives the one before, or null
 * where the memory isn't freed by itself. */
void *weir_free_by(rd_kafka_buf_t *rkbuf, void (*release)(void *)) {
        rd_segment_t *seg = (rd_segment_t *)rkbuf->rkbuf_reader.seg;
        void (*before)(void *) = seg->seg_free;

        if (before)
                seg->seg_free = release;
        return (void *)before;
}

/* How much librdkafka asks for of a partition at once. */
int32_t weir_fetch_bytes(const rd_kafka_toppar_t *rktp) {
        return rktp->rktp_fetch_msg_max_bytes;
}

void weir_set_fetch_bytes(rd_kafka_toppar_t *rktp, int32_t bytes) {
        rktp->rktp_fetch_msg_max_bytes = bytes;
}

/* Tells whoever takes the partition's records that one of its batches does not fit. */
void weir_tell_too_large(rd_kafka_buf_t *rkbuf,
                         rd_kafka_toppar_t *rktp,
                         const struct rd_kafka_toppar_ver *tver,
                         int64_t offset,
                         const char *words) {
        rd_kafka_consumer_err(rktp->rktp_fetchq, rd_kafka_broker_id(rkbuf->rkbuf_rkb),
                              RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, tver->version, NULL, rktp, offset,
                              "%s", words);
}

/* Nothing is fetched of the partition for so many microseconds. */
void weir_back_off(rd_kafka_toppar_t *rktp, int64_t microseconds) {
        rd_ts_t until = rd_clock() + microseconds;

        rd_kafka_toppar_lock(rktp);
        if (rktp->rktp_ts_fetch_backoff < until)
                rktp->rktp_ts_fetch_backoff = until;
        rd_kafka_toppar_unlock(rktp);
}

/* The client of a broker's connection. */
rd_kafka_t *weir_client(const rd_kafka_broker_t *rkb) {
        return rkb->rkb_rk;
}

/* Bytes that librdkafka keeps for each record beside its content. */
size_t weir_record_bytes(void) {
        rd_kafka_op_t *rko = NULL;

        /* As rd_kafka_op_new0 allocates it, and as the allocator rounds it up. */
        return (sizeof(*rko) - sizeof(rko->rko_u) + sizeof(rko->rko_u.fetch) + 8 + 15) / 16 * 16;
}
