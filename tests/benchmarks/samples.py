"""RouterDC's data in small: five tasks in as many wordings, each with its own best model."""

MODELS = ("a/chem", "a/count", "a/chinese", "a/any")
WORDS = {
    "MMLU": "Which organ pumps blood number {}?\nA. heart\nB. lung\nC. liver\nD. skin",
    "GSM8K": "Tom has {} apples and buys 7 more for $2 each. How many apples does Tom have?",
    "CMMLU": "下列关于第{}次会议的说法正确的是\nA. 甲\nB. 乙\nC. 丙\nD. 丁\n答案\uff1a",
    "ARC-C": "Question:Which rock of kind {} forms under heat and pressure?\nAnswer:",
    "HumanEval": 'def add_{}(a: int, b: int) -> int:\n    """Add two integers.\n    >>> add(1, 2)\n    3\n    """\n',
}
BEST = {"MMLU": 0, "GSM8K": 1, "CMMLU": 2, "ARC-C": 0, "HumanEval": 3}
TRAIN_ROWS, TEST_ROWS = 24, 8
