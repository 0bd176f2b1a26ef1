from django.db import migrations, models


class Migration(migrations.Migration):
    """
    Count how often a user signed out: tokens from before are refused. Only adds, with a default of
    the database; Postgres writes no row for it.
    """

    dependencies = [("shop", "0012_marks_of_retention")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="sign_outs",
            field=models.PositiveIntegerField(default=0, db_default=0, editable=False),
        ),
    ]
