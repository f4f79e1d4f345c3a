"""The Iceberg sink of Kafka Connect, until it has committed the whole topic: iceberg.py BROKERS TOPIC FOLDER GROUP JARS

How the sink is set up is in the folder iceberg/. A sink never ends by itself, so this starts Kafka Connect, follows its log, and ends it after the
table's commit that brings the sink's group to the topic's end. The control topic and the table are made first, as its documentation asks; the topic
stays on the broker. The table is made by writing its first metadata file, which spares a second Java process.
"""

import signal
import subprocess
import sys
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from readings import end_positions, unread

CONFIGURATION = Path(__file__).with_name("iceberg")
# Of Kafka's own script that starts Connect.
HEAP = ["-Xms256m", "-Xmx2g"]


def main(brokers, topic, folder, group, jars):
    create(brokers, f"{group}-control")

    names = {"@BROKERS@": brokers, "@TOPIC@": topic, "@FOLDER@": folder, "@GROUP@": group, "@UUID@": str(uuid.uuid4())}
    files = [fill(name, Path(folder, name), names) for name in ("worker.properties", "sink.properties")]
    metadata = Path(folder, "data/peers/readings/metadata")
    if not metadata.exists():
        metadata.mkdir(parents=True)
        fill("table.json", metadata / "v1.metadata.json", names)
        Path(metadata, "version-hint.text").write_text("1")
    log = f"-Dlog4j2.configurationFile={CONFIGURATION / 'log4j2.properties'}"
    connect = subprocess.Popen(
        ["java", *HEAP, log, "-cp", jars, "org.apache.kafka.connect.cli.ConnectStandalone", *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    done = False
    try:
        # Asked while Connect starts.
        ends = end_positions(brokers, topic)
        for line in connect.stdout:
            print(line, end="", flush=True)
            if " complete, committed to " in line and not unread(brokers, topic, f"connect-{group}", ends):
                done = True
                break
    finally:
        connect.terminate()
        for line in connect.stdout:
            print(line, end="")
        connect.wait()
    if not done:
        sys.exit("Kafka Connect ended before the topic's end was committed")


def create(brokers, topic):
    admin = AdminClient({"bootstrap.servers": brokers})
    try:
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
            raise


def fill(name, file, names):
    text = (CONFIGURATION / name).read_text()
    for mark, value in names.items():
        text = text.replace(mark, value)
    file.write_text(text)
    return str(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
