from toolchain.metrics.detections.evaluation import confusion


def test_the_matrix_counts_found_missed_and_false_boxes():
    classes = [{"label": "cat", "rows": 10, "recall": 0.8, "precision": 0.5}]
    assert confusion(classes) == [[8, 2], [8, 0]]
    assert confusion([{"label": "cat", "rows": 3, "recall": 0.0, "precision": 0.0}]) == [[0, 3], [0, 0]]
